import { ConnectionError, ERROR_CODE } from "./error-code.ts";

/** A block of n bytes may come in so many frames; smaller fragments are a flood of CONTINUATIONs. */
const FRAGMENTS_MAX = 32;

/** Joins the fragments of a header block that is spread over HEADERS and CONTINUATION frames. */
export class HeaderBlockAssembler {
  readonly #blockBytesMax: number;
  #fragments: Buffer[] = [];
  #bytes = 0;
  #streamId = 0;

  constructor(blockBytesMax: number) {
    this.#blockBytesMax = blockBytesMax;
  }

  /** The stream of the block in hand; 0: none. Until it is complete no other frame may come (RFC 9113, section 6.10). */
  get streamId(): number {
    return this.#streamId;
  }

  begin(streamId: number): void {
    this.#streamId = streamId;
  }

  /** Keeps a copy. @throws {ConnectionError} ENHANCE_YOUR_CALM: a block cannot be skipped, so the connection ends. */
  add(bytes: Buffer, start: number, end: number): void {
    this.#bytes += end - start;
    if (this.#bytes > this.#blockBytesMax || this.#fragments.length >= FRAGMENTS_MAX) {
      throw new ConnectionError(ERROR_CODE.enhanceYourCalm, "header block: too long");
    }
    this.#fragments.push(Buffer.from(bytes.subarray(start, end)));
  }

  take(): Buffer {
    const block = Buffer.concat(this.#fragments);
    this.#fragments = [];
    this.#bytes = 0;
    this.#streamId = 0;
    return block;
  }
}
