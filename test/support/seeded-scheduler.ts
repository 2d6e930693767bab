import type { SeededRandom } from "./seeded-random.ts";

/**
 * Decides what runs next among everything that is ready: rounds of shard workers, messages to them, ends of disk
 * calls. One thing runs at a time, picked by the seed, and promises settle in between, so a seed is an interleaving.
 */
export class SeededScheduler {
  readonly #random: SeededRandom;
  #ready: (() => void)[] = [];
  #isPumping = false;
  #isStopped = false;
  #watchers: { left: number; resolve: () => void }[] = [];

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  schedule(task: () => void): void {
    if (this.#isStopped) return;
    this.#ready.push(task);
    if (this.#isPumping) return;
    this.#isPumping = true;
    setImmediate(this.#pump);
  }

  /** Resolves when its turn has come: the end of an asynchronous call. */
  turn(): Promise<void> {
    return new Promise((resolve) => this.schedule(resolve));
  }

  /** Resolves once so many tasks have run from now, or nothing is left to run. */
  steps(count: number): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    return new Promise((resolve) => {
      this.#watchers.push({ left: count, resolve });
      this.schedule(() => undefined);
    });
  }

  /** What is ready now never runs: the process that it belonged to has ended. */
  stop(): void {
    this.#isStopped = true;
    this.#ready = [];
    this.#releaseWatchers();
  }

  readonly #pump = (): void => {
    const position = this.#random.int(0, Math.max(0, this.#ready.length - 1));
    const [task] = this.#ready.splice(position, 1);
    task?.();
    // Promises that the task settled run before the next immediate, and may make more ready.
    setImmediate(() => {
      this.#tellWatchers();
      this.#isPumping = this.#ready.length > 0;
      if (this.#isPumping) this.#pump();
      else this.#releaseWatchers();
    });
  };

  #tellWatchers(): void {
    for (const watcher of this.#watchers) watcher.left -= 1;
    const due = this.#watchers.filter(({ left }) => left <= 0);
    this.#watchers = this.#watchers.filter(({ left }) => left > 0);
    for (const { resolve } of due) resolve();
  }

  #releaseWatchers(): void {
    for (const { resolve } of this.#watchers.splice(0)) resolve();
  }
}
