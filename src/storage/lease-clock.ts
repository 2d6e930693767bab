import type { Clock } from "../clock.ts";

/**
 * Whole seconds on the clock by which leases and uses are kept: monotonic, so that a jump of the wall clock changes
 * nothing (HAZARDS H11), the same in every thread, and always above 0, which stands for "never used". Its zero is
 * meaningless outside of this boot of the machine; checkpoints shift it.
 */
export function leaseSeconds(clock: Clock): number {
  return BASE_SECONDS + Math.floor(clock.monotonicMs() / 1000);
}

/** Room below the present for uses that a checkpoint saved before the machine was last started. */
const BASE_SECONDS = 1_000_000_000;
