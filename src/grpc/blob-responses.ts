import type { BlobContent } from "../cache/blob-store.ts";
import type { Encoding } from "../cache/encoding.ts";
import type { LentPiece, LentPieces } from "../cache/entry-store.ts";
import { encodeZstd } from "../cache/zstd/zstd-streams.ts";
import type { ReadResponse } from "./byte-stream-messages.ts";
import { asBuffer } from "./proto-definitions.ts";
import type { ResponseSource } from "./transport/handler.ts";

/**
 * A blob as responses of `ByteStream.Read`. A reader that takes nothing holds an open entry and two chunks here; to end
 * it is up to the transport, which alone sees that the client does not read.
 */
export class BlobResponses implements ResponseSource<ReadResponse> {
  readonly #encoding: Encoding;
  readonly #dataBytesMax: number;
  #opening: Promise<BlobContent> | undefined;
  #content: BlobContent | undefined;
  #pieces: LentPieces | undefined;
  #iterated: IteratedPieces | undefined;
  /** Too large for one response: the rest of it from `#offset` on. */
  #piece: LentPiece | undefined;
  #offset = 0;
  #isClosed = false;

  /** @param encoding that the reader asks for. @param dataBytesMax of one response. */
  constructor(content: Promise<BlobContent> | BlobContent, encoding: Encoding, dataBytesMax: number) {
    this.#encoding = encoding;
    this.#dataBytesMax = dataBytesMax;
    if (content instanceof Promise) this.#opening = content;
    else this.#open(content);
  }

  take(bytesMax: number): ReadResponse | undefined {
    const dataBytesMax = Math.min(this.#dataBytesMax, bytesMax);
    const piece = this.#piece ?? this.#pieces?.take(dataBytesMax);
    if (piece === undefined) return undefined;
    const { bytes, giveBack } = piece;
    const data = asBuffer(bytes);
    const end = this.#offset + dataBytesMax;
    const isLast = end >= data.length;
    const response = isLast
      ? { data: data.subarray(this.#offset), giveBack }
      : { data: data.subarray(this.#offset, end) };
    this.#piece = isLast ? undefined : piece;
    this.#offset = isLast ? 0 : end;
    return response;
  }

  more(): Promise<boolean> | false {
    return this.#pieces === undefined ? this.#opened() : this.#pieces.more();
  }

  close(): void {
    this.#isClosed = true;
    this.#iterated?.close();
    this.#content?.close();
  }

  async #opened(): Promise<true> {
    this.#open(await this.#opening!);
    return true;
  }

  #open(content: BlobContent): void {
    this.#content = content;
    if (content.encoding !== this.#encoding) this.#iterated = new IteratedPieces(encodeZstd(content));
    else if (content.lend === undefined) this.#iterated = new IteratedPieces(content);
    this.#pieces = this.#iterated ?? content.lend?.();
    // The call ended while the blob was looked for.
    if (this.#isClosed) this.close();
  }
}

/** The pieces of what does not lend any. */
class IteratedPieces implements LentPieces {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #next: LentPiece | undefined;

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#iterator = pieces[Symbol.asyncIterator]();
  }

  take(): LentPiece | undefined {
    const next = this.#next;
    this.#next = undefined;
    return next;
  }

  async more(): Promise<boolean> {
    const result = await this.#iterator.next();
    if (result.done !== true) this.#next = { bytes: result.value, giveBack: () => {} };
    return result.done !== true;
  }

  /** Once what is pending has settled. */
  close(): void {
    // A fault of the clean-up comes too late to be anybody's answer.
    this.#iterator.return?.().catch(() => {});
  }
}
