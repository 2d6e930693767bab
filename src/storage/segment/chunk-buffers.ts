import type { LentPiece } from "../../cache/entry-store.ts";
import { freeMemory } from "../../free-memory.ts";
import { CHUNK_BYTES } from "./segment-format.ts";

export interface LentChunk extends LentPiece {
  readonly bytes: Buffer;
}

/** Smaller pieces have memory of their own. */
const LENT_BYTES_MIN = 4 * 1024;
/** Of each size: what is kept for the next reads; more than that at one time is freed. */
const FREE_MAX = 32;
/** Of all sizes: as many of each as are kept. */
const FREE_BYTES_MAX = 2 * FREE_MAX * CHUNK_BYTES;
const WORD_BITS = 32;

/**
 * Memory for pieces of large values, used again and again: fresh memory for each costs more than the read, in page
 * faults, in cold caches, and in collections of garbage that so much memory outside of the heap brings about. It comes in
 * powers of two, so that a slow reader holds less than twice what it was given.
 */
export class ChunkBuffers {
  readonly #freeBytesMax: number;
  #freeBytes = 0;
  /** By the power of two. */
  readonly #free: Buffer[][] = Array.from({ length: powerOf(CHUNK_BYTES) + 1 }, () => []);

  /** @param freeBytesMax what is kept for the next reads. */
  constructor(freeBytesMax = FREE_BYTES_MAX) {
    this.#freeBytesMax = freeBytesMax;
  }

  /** @param bytes at most `CHUNK_BYTES`. @returns memory of that size, with anything in it. */
  take(bytes: number): LentChunk {
    if (bytes < LENT_BYTES_MIN) return ownPiece(Buffer.allocUnsafe(bytes));
    const power = powerOf(bytes);
    const whole = this.#takeFree(power) ?? Buffer.allocUnsafeSlow(2 ** power);
    let isLent = true;
    return {
      bytes: whole.length === bytes ? whole : whole.subarray(0, bytes),
      giveBack: () => {
        // Given back twice it would be lent to two at once.
        if (!isLent) return;
        isLent = false;
        const free = this.#free[power]!;
        if (free.length === FREE_MAX || this.#freeBytes + whole.length > this.#freeBytesMax) return freeMemory(whole);
        free.push(whole);
        this.#freeBytes += whole.length;
      },
    };
  }

  #takeFree(power: number): Buffer | undefined {
    const whole = this.#free[power]!.pop();
    if (whole !== undefined) this.#freeBytes -= whole.length;
    return whole;
  }
}

/** Of the smallest power of two that is not less. */
function powerOf(bytes: number): number {
  return WORD_BITS - Math.clz32(bytes - 1);
}

/** A piece that nobody wants back. */
export function ownPiece(bytes: Buffer): LentChunk {
  return { bytes, giveBack: keepIt };
}

function keepIt(): void {}
