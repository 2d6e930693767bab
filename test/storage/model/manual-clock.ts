import type { Clock } from "../../../src/clock.ts";

/** Time that the test sets. */
export class ManualClock implements Clock {
  #wallMs = 1_700_000_000_000;
  #monotonicMs = 5_000;

  wallMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  advance(seconds: number, wallJumpSeconds = 0): void {
    this.#monotonicMs += seconds * 1000;
    this.#wallMs += (seconds + wallJumpSeconds) * 1000;
  }

  /** The machine was started again: the monotonic clock begins anew. */
  reboot(): void {
    this.#monotonicMs = 3_000;
  }
}
