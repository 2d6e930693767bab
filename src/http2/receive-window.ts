import type { ByteBudget } from "./byte-budget.ts";

/** Rarer updates leave a fast sender on a long line idle for part of each round trip. */
const ANNOUNCED_SHARE = 4;

/**
 * What the peer may still send (RFC 9113, section 5.2), for a stream or a whole connection:
 *
 *     ├────────── size ──────────────────────────────────────┤
 *     │ received, waits to be consumed │ consumed │ available │
 *                                        announced together once they are a quarter
 *
 * It begins small and doubles up to `sizeMax` as long as the consumer keeps up, so that a fast upload over a long line
 * gets a large window, and one that nobody reads holds little memory.
 */
export class ReceiveWindow {
  #available: number;
  #received = 0;
  #consumed = 0;
  #size: number;
  readonly #sizeInitial: number;
  #sizeMax: number;
  readonly #budget: ByteBudget | undefined;

  constructor(size: number, sizeMax: number, budget?: ByteBudget) {
    this.#available = size;
    this.#size = size;
    this.#sizeInitial = size;
    this.#sizeMax = sizeMax;
    this.#budget = budget;
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes so far. */
  get received(): number {
    return this.#received;
  }

  /** @returns false where the peer sends more than it may. */
  receive(bytes: number): boolean {
    this.#available -= bytes;
    this.#received += bytes;
    return this.#available >= 0;
  }

  /** @returns the increment to announce now; 0: it is not worth a frame yet. */
  consume(bytes: number): number {
    this.#consumed += bytes;
    if (this.#consumed * ANNOUNCED_SHARE < this.#size) return 0;
    const increment = this.#consumed + this.#growth();
    this.#consumed = 0;
    this.#available += increment;
    return increment;
  }

  /** The settings have let the peer send more (section 6.9.2). What that is beyond the largest size is not announced again. */
  widen(bytes: number): void {
    this.#available += bytes;
    this.#size += bytes;
  }

  /** Gives back to the budget what the window has grown by; for the end of its connection. */
  close(): void {
    this.#budget?.give(this.#size - this.#sizeInitial);
    this.#size = this.#sizeInitial;
    // A listener may yet consume what it has: nothing is to be taken again for that.
    this.#sizeMax = this.#sizeInitial;
  }

  #growth(): number {
    const waiting = this.#size - this.#available - this.#consumed;
    const growth = Math.min(this.#size, this.#sizeMax - this.#size);
    if (growth < 0) return this.#shrink(Math.min(-growth, this.#consumed));
    if (growth === 0 || waiting * 4 > this.#size) return 0;
    if (this.#budget?.take(growth) === false) return 0;
    this.#size += growth;
    return growth;
  }
  #shrink(bytes: number): number {
    this.#size -= bytes;
    return -bytes;
  }
}
