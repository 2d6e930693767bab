/** Time behind an interface, so that tests own it. Order and age come from `monotonicMs` only (HAZARDS H11). */
export interface Clock {
  /** Milliseconds since the epoch; may jump either way. For what people read, never for order. */
  wallMs(): number;
  /** Milliseconds since an arbitrary point that is the same for all threads of the process; never goes back. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  // Not performance.now(): each worker thread counts that from its own start.
  monotonicMs: () => Number(process.hrtime.bigint()) / 1e6,
};
