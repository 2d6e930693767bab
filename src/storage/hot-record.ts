import { freeMemory } from "../free-memory.ts";
import { type LentChunk, ownPiece } from "./segment/chunk-buffers.ts";

/**
 * A record whose payload is in memory, which is freed as soon as it is forgotten and nobody looks at it:
 *
 *     kept ──► forgotten ──(the last one gives it back)──► freed
 *
 * Left to the garbage collector, what was forgotten would come to 64 MiB before it does anything. Whoever never gives back
 * what was lent leaves it to the collector.
 */
export class HotRecord {
  readonly segmentId: number;
  readonly offset: number;
  readonly payload: Buffer;
  /** Its memory is others', too. */
  readonly isShared: boolean;
  #lentCount = 0;
  #isForgotten = false;

  constructor(segmentId: number, offset: number, payload: Buffer, isShared: boolean) {
    this.segmentId = segmentId;
    this.offset = offset;
    this.payload = payload;
    this.isShared = isShared;
  }

  lend(): LentChunk {
    if (this.isShared) return ownPiece(this.payload);
    this.#lentCount += 1;
    let isLent = true;
    return {
      bytes: this.payload,
      giveBack: () => {
        if (!isLent) return;
        isLent = false;
        this.#lentCount -= 1;
        this.#freeUnused();
      },
    };
  }

  forget(): void {
    this.#isForgotten = true;
    this.#freeUnused();
  }

  #freeUnused(): void {
    if (this.#isForgotten && this.#lentCount === 0 && !this.isShared) freeMemory(this.payload);
  }
}
