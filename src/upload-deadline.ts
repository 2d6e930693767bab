import type { Timer, Timers } from "./timers.ts";

export interface UploadDeadlineOptions {
  /** Longest time without a byte. */
  readonly idleMsMax: number;
  readonly timers: Timers;
  /** Whether it is the server that has something to do: then the client is not late. */
  readonly isServerBusy: () => boolean;
  readonly onLate: (message: string) => void;
}

/** In so many idle times {@link SLOW_BYTES_MIN} have to come. */
export const SLOW_PER_IDLE = 10;
export const SLOW_BYTES_MIN = 16 * 1024;
/** A timer that is set to more fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * What is asked of a client that uploads (HAZARDS H14): a byte in each idle time, and 16 KiB in each ten of them, so that
 * nobody holds a place for ever with a byte now and then.
 */
export class UploadDeadline implements Disposable {
  readonly #options: UploadDeadlineOptions;
  readonly #idle: Timer;
  /** Most uploads are over with what comes first. */
  #hasBegun = false;
  #slow: Timer | undefined;
  #slowBytes = 0;

  constructor(options: UploadDeadlineOptions) {
    this.#options = options;
    const { idleMsMax, timers } = options;
    this.#idle = timers.start(idleMsMax, () =>
      this.#onFired(this.#idle, `no byte of progress in ${idleMsMax / 1000} s`),
    );
  }

  /** Bytes have come in, at least one. */
  noteProgress(bytes: number): void {
    this.#idle.restart();
    this.#slowBytes += bytes;
    if (!this.#hasBegun) this.#hasBegun = true;
    else if (this.#slow === undefined) this.#slow = this.#startSlow();
    else if (this.#slowBytes >= SLOW_BYTES_MIN) this.#slow.restart();
    else return;
    this.#slowBytes = 0;
  }

  [Symbol.dispose](): void {
    this.#idle.cancel();
    this.#slow?.cancel();
  }

  #startSlow(): Timer {
    const { idleMsMax, timers } = this.#options;
    const slowMs = Math.min(SLOW_PER_IDLE * idleMsMax, TIMER_MS_MAX);
    const message = `fewer than ${SLOW_BYTES_MIN} bytes in ${slowMs / 1000} s`;
    const slow = timers.start(slowMs, () => this.#onFired(slow, message));
    return slow;
  }

  #onFired(timer: Timer, message: string): void {
    if (this.#options.isServerBusy()) timer.restart();
    else this.#options.onLate(message);
  }
}
