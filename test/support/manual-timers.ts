import type { Timer, Timers } from "../../src/timers.ts";

/** Time that passes only when the test says so. */
export class ManualTimers implements Timers {
  readonly #due = new Map<Timer, { atMs: number; onFire: () => void }>();
  #nowMs = 0;

  /** Timers that would fire if time went on. */
  get running(): number {
    return this.#due.size;
  }

  start(delayMs: number, onFire: () => void): Timer {
    let isCancelled = false;
    const timer: Timer = {
      restart: () => {
        if (!isCancelled) this.#due.set(timer, { atMs: this.#nowMs + delayMs, onFire });
      },
      cancel: () => {
        isCancelled = true;
        this.#due.delete(timer);
      },
    };
    timer.restart();
    return timer;
  }

  /** Fires everything that falls due on the way, in order of time. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const [next] = [...this.#due].filter(([, { atMs }]) => atMs <= endMs).sort(([, a], [, b]) => a.atMs - b.atMs);
      if (next === undefined) break;
      const [timer, { atMs, onFire }] = next;
      this.#nowMs = atMs;
      this.#due.delete(timer);
      onFire();
    }
    this.#nowMs = endMs;
  }
}
