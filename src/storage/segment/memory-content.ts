import type { Encoding } from "../../cache/encoding.ts";
import type { EntryContent, LentPieces } from "../../cache/entry-store.ts";
import type { LentChunk } from "./chunk-buffers.ts";

/**
 * A value, or the part of it that was asked for, that is in memory. Its memory is given back by who takes the piece, or by
 * closing where nobody does; of what was had in another way nobody knows for how long it is looked at.
 */
export class MemoryContent implements EntryContent, LentPieces {
  readonly sizeBytes: number;
  readonly encoding: Encoding;
  readonly #range: LentChunk;
  #isTaken = false;

  constructor(sizeBytes: number, range: LentChunk, encoding: Encoding = "identity") {
    this.sizeBytes = sizeBytes;
    this.encoding = encoding;
    this.#range = range;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const bytes = this.bytes();
    if (bytes.length > 0) yield bytes;
  }

  lend(): this {
    return this;
  }

  take(): LentChunk | undefined {
    if (this.#isTaken || this.#range.bytes.length === 0) return undefined;
    this.#isTaken = true;
    return this.#range;
  }

  more(): false {
    return false;
  }

  bytes(): Uint8Array {
    this.#isTaken = true;
    return this.#range.bytes;
  }

  close(): void {
    if (!this.#isTaken) this.#range.giveBack();
    this.#isTaken = true;
  }
}
