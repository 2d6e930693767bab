export interface KeepaliveOptions {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** The peer has been quiet for the interval. */
  readonly onProbe: () => void;
  /** The peer has not answered in time. */
  readonly onExpired: () => void;
}

/** Finds peers that are gone without a word. Any frame that they send counts as an answer. */
export class Keepalive {
  readonly #options: KeepaliveOptions;
  #heard = false;
  #isProbing = false;
  #timer: NodeJS.Timeout;

  constructor(options: KeepaliveOptions) {
    this.#options = options;
    this.#timer = this.#start(options.intervalMs);
  }

  /** The peer has sent something. Cheap: no timer is touched. */
  noteHeard(): void {
    this.#heard = true;
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #start(delayMs: number): NodeJS.Timeout {
    return setTimeout(() => this.#onTimer(), delayMs).unref();
  }

  #onTimer(): void {
    const { intervalMs, timeoutMs, onProbe, onExpired } = this.#options;
    if (this.#heard) {
      this.#heard = false;
      this.#isProbing = false;
      this.#timer = this.#start(intervalMs);
    } else if (this.#isProbing) {
      onExpired();
    } else {
      this.#isProbing = true;
      onProbe();
      this.#timer = this.#start(timeoutMs);
    }
  }
}
