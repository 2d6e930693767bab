import type { Encoding } from "../../cache/encoding.ts";
import type { EntryContent } from "../../cache/entry-store.ts";

/** A value, or the part of it that was asked for, that is in memory: nothing is open, so that closing does nothing. */
export class MemoryContent implements EntryContent {
  readonly sizeBytes: number;
  readonly encoding: Encoding;
  readonly #range: Buffer;

  constructor(sizeBytes: number, range: Buffer, encoding: Encoding = "identity") {
    this.sizeBytes = sizeBytes;
    this.encoding = encoding;
    this.#range = range;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    if (this.#range.length > 0) yield this.#range;
  }

  bytes(): Uint8Array {
    return this.#range;
  }

  close(): void {}
}
