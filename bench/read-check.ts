import { type BlobPlan, type PlannedBlob, STAMP_BYTES } from "./blob-plan.ts";
import type { ResponseSink } from "./http2-client/client-stream.ts";
import { GRPC_PREFIX_BYTES } from "./proto-fields.ts";

/** Tag of `ReadResponse.data`, its only field. */
const DATA_TAG = (10 << 3) | 2;

/**
 * Whether a body of ReadResponses holds exactly a blob, found out while it arrives and without keeping it: its length,
 * its stamp, and with `whole` every byte in between.
 */
export class ReadCheck implements ResponseSink {
  readonly #blob: PlannedBlob;
  readonly #content: Buffer | undefined;
  /** Of the data seen so far, in the blob. */
  #offset = 0;
  #dataLeft = 0;
  // The message in hand, up to its data.
  #headBytes = 0;
  #messageLeft = 0;
  #lengthSoFar = 0;
  #lengthScale = 1;

  constructor(blob: PlannedBlob, plan: BlobPlan, whole: boolean) {
    this.#blob = blob;
    this.#content = whole ? plan.content(blob.classIndex) : undefined;
  }

  /** @throws at the first wrong byte. */
  onData(chunk: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      if (this.#dataLeft === 0) {
        this.#head(chunk.readUInt8(at++));
        continue;
      }
      const next = Math.min(end, at + this.#dataLeft);
      this.#data(chunk, at, next);
      this.#dataLeft -= next - at;
      at = next;
    }
  }

  /** @throws where the body has ended too early. */
  end(): void {
    if (this.#offset !== this.#blob.sizeBytes || this.#headBytes > 0)
      throw this.#error(`expected ${this.#blob.sizeBytes} bytes, got ${this.#offset}`);
  }

  /** One byte of what stands in front of the data: compressed flag, length of the message, tag, length of the data. */
  #head(byte: number): void {
    const at = this.#headBytes++;
    if (at === 0) {
      if (byte !== 0) throw this.#error("a compressed message");
      this.#messageLeft = 0;
    } else if (at < GRPC_PREFIX_BYTES) {
      this.#messageLeft = this.#messageLeft * 256 + byte;
      if (at === GRPC_PREFIX_BYTES - 1 && this.#messageLeft === 0) this.#headBytes = 0;
    } else if (at === GRPC_PREFIX_BYTES) {
      if (byte !== DATA_TAG) throw this.#error(`a field with tag ${byte}`);
      this.#messageLeft--;
      this.#lengthSoFar = 0;
      this.#lengthScale = 1;
    } else this.#dataLength(byte);
  }

  #dataLength(byte: number): void {
    this.#lengthSoFar += (byte & 127) * this.#lengthScale;
    this.#lengthScale *= 128;
    this.#messageLeft--;
    if (byte >= 128) return;
    if (this.#lengthSoFar !== this.#messageLeft) throw this.#error("a message with more than data");
    this.#dataLeft = this.#lengthSoFar;
    this.#headBytes = 0;
  }

  #data(chunk: Buffer, start: number, end: number): void {
    const offset = this.#offset;
    this.#offset += end - start;
    const stampAt = this.#blob.sizeBytes - STAMP_BYTES;
    if (this.#offset > this.#blob.sizeBytes) throw this.#error("more bytes than it has");
    const plain = Math.max(0, Math.min(this.#offset, stampAt) - offset);
    if (this.#content?.compare(chunk, start, start + plain, offset, offset + plain) ?? 0)
      throw this.#error(`a wrong byte after ${offset}`);
    if (this.#offset <= stampAt) return;
    const from = offset + plain - stampAt;
    if (this.#blob.stamp.compare(chunk, start + plain, end, from, from + end - start - plain) !== 0)
      throw this.#error("a wrong end");
  }

  #error(what: string): Error {
    return new Error(`read of ${this.#blob.hash}: ${what}`);
  }
}
