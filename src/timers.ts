/** Timers behind an interface, so that tests own them. */
export interface Timers {
  /** Calls `onFire` once, `delayMs` from now. Does not keep the process alive. */
  start(delayMs: number, onFire: () => void): Timer;
}

export interface Timer {
  /** Begins the whole delay anew, also after it has fired. */
  restart(): void;
  /** For good. */
  cancel(): void;
}

export const systemTimers: Timers = {
  start(delayMs, onFire) {
    const timeout = setTimeout(onFire, delayMs).unref();
    return {
      restart: () => void timeout.refresh(),
      cancel: () => clearTimeout(timeout),
    };
  },
};
