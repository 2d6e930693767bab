import { CacheError } from "./cache-error.ts";

/** A bounded number of places for work that takes memory or a thread, and a bounded queue for them. */
export class Places {
  readonly #waitingMax: number;
  readonly #what: string;
  readonly #waiting: (() => void)[] = [];
  #free: number;

  /** @param what The work, in the plural, for whoever is refused. */
  constructor(what: string, placeCount: number, waitingMax: number) {
    this.#what = what;
    this.#free = placeCount;
    this.#waitingMax = waitingMax;
  }

  /**
   * Waits for a place. @returns what gives it back, to be disposed of once.
   * @throws {CacheError} resource_exhausted where too many wait.
   */
  async take(): Promise<Disposable> {
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait();
    return { [Symbol.dispose]: () => this.#giveBack() };
  }

  /** The same without waiting. @throws {CacheError} resource_exhausted where no place is free. */
  takeNow(): Disposable {
    if (this.#free === 0) throw this.#refusal();
    this.#free -= 1;
    return { [Symbol.dispose]: () => this.#giveBack() };
  }

  #wait(): Promise<void> {
    if (this.#waiting.length >= this.#waitingMax) throw this.#refusal();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #refusal(): CacheError {
    return new CacheError("resource_exhausted", `too many ${this.#what} at once`, { retryAfterMs: 1000 });
  }

  /** To the next in the queue, if there is one. */
  #giveBack(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
