import type { Encoding } from "../../cache/encoding.ts";
import type { EntryContent, LentPieces } from "../../cache/entry-store.ts";
import { type LentChunk, ownPiece } from "./chunk-buffers.ts";

/** A value, or the part of it that was asked for, that is in memory: nothing is open, so that closing does nothing. */
export class MemoryContent implements EntryContent, LentPieces {
  readonly sizeBytes: number;
  readonly encoding: Encoding;
  readonly #range: Buffer;
  #isTaken = false;

  constructor(sizeBytes: number, range: Buffer, encoding: Encoding = "identity") {
    this.sizeBytes = sizeBytes;
    this.encoding = encoding;
    this.#range = range;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    if (this.#range.length > 0) yield this.#range;
  }

  lend(): this {
    return this;
  }

  take(): LentChunk | undefined {
    if (this.#isTaken || this.#range.length === 0) return undefined;
    this.#isTaken = true;
    return ownPiece(this.#range);
  }

  more(): false {
    return false;
  }

  bytes(): Uint8Array {
    return this.#range;
  }

  close(): void {}
}
