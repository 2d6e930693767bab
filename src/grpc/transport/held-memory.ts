import type { MemoryBudget } from "../../cache/memory-budget.ts";

/** What a call has of the memory that calls share, until it is over. */
export class HeldMemory {
  readonly #budget: MemoryBudget;
  #bytes = 0;
  #isOver = false;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  /** @see CallContext.holdMemory */
  take(bytes: number): Promise<void> | undefined {
    const waiting = this.#budget.takeInTime(bytes, this.#bytes);
    if (waiting !== undefined) return waiting.then(() => this.#hold(bytes));
    this.#hold(bytes);
    return undefined;
  }

  giveBack(): void {
    this.#isOver = true;
    const givenBytes = this.#bytes;
    this.#bytes = 0;
    if (givenBytes > 0) this.#budget.give(givenBytes);
  }

  #hold(bytes: number): void {
    // The call may have ended while it waited.
    if (this.#isOver) this.#budget.give(bytes);
    else this.#bytes += bytes;
  }
}
