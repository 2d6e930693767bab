import type { ResponseSink } from "./http2-client/client-stream.ts";

/** A blob that is due: `content`, with the stamp in place of its last bytes. Either may be shared by many blobs. */
export interface ExpectedBlob {
  readonly hash: string;
  readonly sizeBytes: number;
  readonly stamp: Buffer;
}

/**
 * Whether what arrives is exactly a blob, found out on the way and without keeping it: its length, its stamp, and with
 * `content` every byte in between.
 */
export class BlobCheck implements ResponseSink {
  readonly #blob: ExpectedBlob;
  readonly #content: Buffer | undefined;
  /** Of the data seen so far, in the blob. */
  #offset = 0;

  constructor(blob: ExpectedBlob, content: Buffer | undefined) {
    this.#blob = blob;
    this.#content = content;
  }

  /** @throws at the first wrong byte. */
  onData(chunk: Buffer, start: number, end: number): void {
    const { sizeBytes, stamp } = this.#blob;
    const offset = this.#offset;
    this.#offset += end - start;
    const stampAt = sizeBytes - stamp.length;
    if (this.#offset > sizeBytes) throw this.error("more bytes than it has");
    const plain = Math.max(0, Math.min(this.#offset, stampAt) - offset);
    if (this.#content?.compare(chunk, start, start + plain, offset, offset + plain) ?? 0)
      throw this.error(`a wrong byte after ${offset}`);
    if (this.#offset <= stampAt) return;
    const from = offset + plain - stampAt;
    if (stamp.compare(chunk, start + plain, end, from, from + end - start - plain) !== 0)
      throw this.error("a wrong end");
  }

  /** @throws where the blob has ended too early. */
  end(): void {
    if (this.#offset !== this.#blob.sizeBytes)
      throw this.error(`expected ${this.#blob.sizeBytes} bytes, got ${this.#offset}`);
  }

  error(what: string): Error {
    return new Error(`read of ${this.#blob.hash}: ${what}`);
  }
}
