import type { LentPiece } from "../../cache/entry-store.ts";
import { CHUNK_BYTES } from "./segment-format.ts";

export interface LentChunk extends LentPiece {
  readonly bytes: Buffer;
}

/** Smaller pieces have memory of their own: a slow reader must not hold much more than it was given. */
const LENT_BYTES_MIN = CHUNK_BYTES / 4;
/** What is kept for the next reads; more than that at one time comes and goes. */
const FREE_MAX = 32;

/**
 * Memory for the chunks of large values, used again and again: fresh memory for each costs more than the read, in page
 * faults, in cold caches, and in collections of garbage that so much memory outside of the heap brings about.
 */
export class ChunkBuffers {
  readonly #free: Buffer[] = [];

  /** @param bytes at most `CHUNK_BYTES`. @returns memory of that size, with anything in it. */
  take(bytes: number): LentChunk {
    if (bytes < LENT_BYTES_MIN) return ownPiece(Buffer.allocUnsafe(bytes));
    const whole = this.#free.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
    let isLent = true;
    return {
      bytes: whole.subarray(0, bytes),
      giveBack: () => {
        // Given back twice it would be lent to two at once.
        if (!isLent) return;
        isLent = false;
        if (this.#free.length < FREE_MAX) this.#free.push(whole);
      },
    };
  }
}

/** A piece that nobody wants back. */
export function ownPiece(bytes: Buffer): LentChunk {
  return { bytes, giveBack: keepIt };
}

function keepIt(): void {}
