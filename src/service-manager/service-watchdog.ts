import { systemTimers, type Timer, type Timers } from "../timers.ts";

export interface ServiceWatchdogOptions {
  /** The service is ended and started again where it is silent for so long. */
  readonly intervalMs: number;
  /** Resolves once all that has to be alive has answered. */
  readonly heartbeat: () => Promise<void>;
  readonly onAlive: () => void;
  readonly timers?: Timers;
}

/** After a round that failed: leaves three more before the manager acts, in which a thread that ended is there again. */
const RETRY_SHARE = 8;

/**
 * Says twice an interval that the service is alive, if it is. A round waits for its answers without a deadline: where one
 * never comes nothing is said, and the manager does what it is for.
 */
export class ServiceWatchdog implements Disposable {
  readonly #options: ServiceWatchdogOptions;
  readonly #timers: Timers;
  #next: Timer | undefined;
  #isStopped = false;

  constructor(options: ServiceWatchdogOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    void this.#round();
  }

  [Symbol.dispose](): void {
    this.#isStopped = true;
    this.#next?.cancel();
  }

  async #round(): Promise<void> {
    const { heartbeat, onAlive, intervalMs } = this.#options;
    const isAlive = await heartbeat().then(
      () => true,
      () => false,
    );
    if (this.#isStopped) return;
    if (isAlive) onAlive();
    this.#next = this.#timers.start(isAlive ? intervalMs / 2 : intervalMs / RETRY_SHARE, () => void this.#round());
  }
}
