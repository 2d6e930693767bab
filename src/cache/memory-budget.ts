import { systemTimers, type Timer, type Timers } from "../timers.ts";
import { CacheError } from "./cache-error.ts";

export interface MemoryBudgetOptions {
  /** How long somebody waits for room at the most. Default 5 s. */
  readonly waitMs?: number;
  /** One more is refused at once. Default: one for each 256 KiB, which is what a request may have sent meanwhile. */
  readonly waitersMax?: number;
  readonly timers?: Timers;
}

interface Waiter {
  readonly bytes: number;
  /** What it has already, and gives back only when it has got the rest, or has been refused. */
  readonly heldBytes: number;
  readonly timer: Timer;
  readonly settle: (isGranted: boolean) => void;
}

const WAIT_MS = 5000;
const BYTES_OF_WAITER = 256 * 1024;
const WAITERS_MIN = 16;

/**
 * Memory that calls share. Who finds too little waits in order, for a bounded time, and is then refused.
 *
 *     ├── at work ──┼── held by those who wait ──┼──── free ────┤
 *
 * Somebody is always at work while others wait: where all that is in use is held by those who wait for more, the last
 * of them is refused, until the first gets what it needs.
 */
export class MemoryBudget {
  readonly bytesMax: number;
  readonly #waitMs: number;
  readonly #waitersMax: number;
  readonly #timers: Timers;
  readonly #waiters: Waiter[] = [];
  #freeBytes: number;
  #heldByWaiters = 0;
  #isSettling = false;

  constructor(bytesMax: number, options: MemoryBudgetOptions = {}) {
    const {
      waitMs = WAIT_MS,
      waitersMax = Math.max(WAITERS_MIN, bytesMax / BYTES_OF_WAITER),
      timers = systemTimers,
    } = options;
    this.bytesMax = bytesMax;
    this.#freeBytes = bytesMax;
    this.#waitMs = waitMs;
    this.#waitersMax = waitersMax;
    this.#timers = timers;
  }

  get usedBytes(): number {
    return this.bytesMax - this.#freeBytes;
  }

  get waiterCount(): number {
    return this.#waiters.length;
  }

  /** @returns false, and takes nothing, where fewer are free, or others wait for them. */
  take(bytes: number): boolean {
    if (bytes > this.#freeBytes || this.#waiters.length > 0) return false;
    this.#freeBytes -= bytes;
    return true;
  }

  /** The same for a part of what will be needed: half of the budget is for those who take all that they need. */
  takePart(bytes: number): boolean {
    return this.#freeBytes - bytes >= this.bytesMax / 2 && this.take(bytes);
  }

  give(bytes: number): void {
    this.#freeBytes += bytes;
    if (this.#waiters.length > 0) this.#settleWaiters();
  }

  /**
   * Queues up for `bytes`.
   * @param heldBytes what the same party has of the budget.
   * @param settle called once, later: whether the bytes were taken.
   * @returns what leaves the queue; undefined: refused, `settle` is not called.
   */
  wait(bytes: number, heldBytes: number, settle: (isGranted: boolean) => void): (() => void) | undefined {
    const isStuck = this.#bytesAtWork <= heldBytes;
    if (isStuck || bytes + heldBytes > this.bytesMax || this.#waiters.length >= this.#waitersMax) return undefined;
    const timer = this.#timers.start(this.#waitMs, () => {
      leave();
      settle(false);
      this.#settleWaiters();
    });
    const waiter: Waiter = { bytes, heldBytes, timer, settle };
    const leave = (): void => this.#remove(waiter);
    this.#waiters.push(waiter);
    this.#heldByWaiters += heldBytes;
    return leave;
  }

  /**
   * Takes `bytes`. No promise where they are free.
   * @param heldBytes what the same party has of the budget.
   * @throws {CacheError} resource_exhausted where there was no room in time, also as what the promise rejects with.
   */
  takeInTime(bytes: number, heldBytes = 0): Promise<void> | undefined {
    if (this.take(bytes)) return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const settle = (isGranted: boolean): void => (isGranted ? resolve() : reject(memoryExhausted()));
    if (this.wait(bytes, heldBytes, settle) === undefined) throw memoryExhausted();
    return promise;
  }

  get #bytesAtWork(): number {
    return this.usedBytes - this.#heldByWaiters;
  }

  #settleWaiters(): void {
    // Whoever is told may give back, or leave, at once: the loop below sees that.
    if (this.#isSettling) return;
    this.#isSettling = true;
    for (let first = this.#waiters[0]; first !== undefined; first = this.#waiters[0]) {
      const isGranted = first.bytes <= this.#freeBytes;
      if (!isGranted && this.#bytesAtWork > 0) break;
      const settled = isGranted ? first : this.#waiters.at(-1)!;
      this.#remove(settled);
      if (isGranted) this.#freeBytes -= settled.bytes;
      settled.settle(isGranted);
    }
    this.#isSettling = false;
  }

  #remove(waiter: Waiter): void {
    const position = this.#waiters.indexOf(waiter);
    if (position === -1) return;
    this.#waiters.splice(position, 1);
    this.#heldByWaiters -= waiter.heldBytes;
    waiter.timer.cancel();
  }
}

export function memoryExhausted(): CacheError {
  const options = { retryAfterMs: 1000, shedBy: "memory" } as const;
  return new CacheError("resource_exhausted", "too many large requests at once", options);
}
