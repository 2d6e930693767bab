import type { BlobCheck } from "./blob-check.ts";
import type { ResponseSink } from "./http2-client/client-stream.ts";
import { GRPC_PREFIX_BYTES } from "./proto-fields.ts";

/** Tag of `ReadResponse.data`, its only field. */
const DATA_TAG = (10 << 3) | 2;

/** Takes a body of ReadResponses apart while it arrives, and hands the data to the check of the blob. */
export class ReadCheck implements ResponseSink {
  readonly #check: BlobCheck;
  #dataLeft = 0;
  // The message in hand, up to its data.
  #headBytes = 0;
  #messageLeft = 0;
  #lengthSoFar = 0;
  #lengthScale = 1;

  constructor(check: BlobCheck) {
    this.#check = check;
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
      this.#check.onData(chunk, at, next);
      this.#dataLeft -= next - at;
      at = next;
    }
  }

  /** @throws where the body has ended too early. */
  end(): void {
    if (this.#headBytes > 0 || this.#dataLeft > 0) throw this.#check.error("it ends within a message");
    this.#check.end();
  }

  /** One byte of what stands in front of the data: compressed flag, length of the message, tag, length of the data. */
  #head(byte: number): void {
    const at = this.#headBytes++;
    if (at === 0) {
      if (byte !== 0) throw this.#check.error("a compressed message");
      this.#messageLeft = 0;
    } else if (at < GRPC_PREFIX_BYTES) {
      this.#messageLeft = this.#messageLeft * 256 + byte;
      if (at === GRPC_PREFIX_BYTES - 1 && this.#messageLeft === 0) this.#headBytes = 0;
    } else if (at === GRPC_PREFIX_BYTES) {
      if (byte !== DATA_TAG) throw this.#check.error(`a field with tag ${byte}`);
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
    if (this.#lengthSoFar !== this.#messageLeft) throw this.#check.error("a message with more than data");
    this.#dataLeft = this.#lengthSoFar;
    this.#headBytes = 0;
  }
}
