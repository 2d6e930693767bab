import { promisify } from "node:util";
import { gunzip } from "node:zlib";

/** A thousand small messages may expand to the largest size each; no more than so many are expanded at once. */
const AT_ONCE_MAX = 2;

const gunzipAsync = promisify(gunzip);

/** Decompresses the messages of all calls, a few at a time; the others wait, one for each call at the most. */
export class Decompressor {
  readonly #messageBytesMax: number;
  readonly #waiting: (() => void)[] = [];
  #runningCount = 0;

  constructor(messageBytesMax: number) {
    this.#messageBytesMax = messageBytesMax;
  }

  /** @throws zlib's error; its code is ERR_BUFFER_TOO_LARGE where the message would exceed the limit. */
  async gunzip(bytes: Buffer): Promise<Buffer> {
    if (this.#runningCount >= AT_ONCE_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#runningCount++;
    try {
      return await gunzipAsync(bytes, { maxOutputLength: this.#messageBytesMax });
    } finally {
      // The place is handed on, so that nobody slips in between.
      const next = this.#waiting.shift();
      if (next === undefined) this.#runningCount--;
      else next();
    }
  }
}
