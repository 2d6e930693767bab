/** As many as keep the threads of libuv's pool busy, and the next ones ready for them. */
const AT_ONCE_MAX = 16;
/** Of those who have memory for a chunk, 8 MiB in all. */
const AHEAD_MAX = 32;

/**
 * Bounds what is read through libuv's pool, which takes any number of reads and does four at a time: each has its memory
 * from the beginning. Who has to wait for a place has none yet.
 *
 *     a chunk is wanted ─► waits for a place ─► has memory, is read ─► is taken at once
 *     nobody wants it yet ──────── only where there are few ─────────► is held until it is wanted
 */
export class ChunkReads {
  readonly #waiting: (() => void)[] = [];
  #runningCount = 0;
  #aheadCount = 0;

  /** @returns what to wait for; undefined where there is a place. Either way {@link leave} is to follow. */
  enter(): Promise<void> | undefined {
    if (this.#runningCount >= AT_ONCE_MAX) return new Promise((resolve) => void this.#waiting.push(resolve));
    this.#runningCount += 1;
    return undefined;
  }

  leave(): void {
    // The place is handed on, so that nobody slips in between.
    const next = this.#waiting.shift();
    if (next === undefined) this.#runningCount -= 1;
    else next();
  }

  /** @returns whether one more chunk may be read before it is wanted; {@link endAhead} is to follow then. */
  tryAhead(): boolean {
    if (this.#aheadCount >= AHEAD_MAX) return false;
    this.#aheadCount += 1;
    return true;
  }

  endAhead(): void {
    this.#aheadCount -= 1;
  }
}
