import { ConnectionError, ERROR_CODE } from "./error-code.ts";

/** So many at once, and then so many a second. */
export interface Allowance {
  readonly burst: number;
  readonly perSecond: number;
}

/**
 * What a client may send that costs it next to nothing and gets it nothing. Honest clients stay far below: what they
 * send in proportion to their work is credited by {@link FloodGuard.credit}.
 */
export interface FloodLimits {
  /**
   * Streams that the client resets, or makes us reset: cancelling all calls that a connection may have in flight is fine,
   * in a loop is not. What is begun for each of them is garbage afterwards, and {@link RESET_AT_ONCE_COST} may come on top.
   */
  readonly reset: Allowance;
  /** PING, SETTINGS, PRIORITY and unknown frames. */
  readonly control: Allowance;
  readonly windowUpdate: Allowance;
  /** DATA frames of at most {@link TINY_DATA_BYTES_MAX} bytes that do not end their stream. */
  readonly tinyData: Allowance;
}

/**
 * A stream that is reset right behind its beginning, in one piece, was never to be answered. Clients that cancel a whole
 * build have begun others in between.
 */
export const RESET_AT_ONCE_COST = 10;

export type FloodKind = keyof FloodLimits;

/** No message of any protocol fits in fewer; a frame cut short by a window may be so small now and then. */
export const TINY_DATA_BYTES_MAX = 4;

export const FLOOD_LIMITS_DEFAULT: FloodLimits = {
  reset: { burst: 1100, perSecond: 200 },
  control: { burst: 1000, perSecond: 50 },
  windowUpdate: { burst: 2000, perSecond: 200 },
  tinyData: { burst: 1000, perSecond: 50 },
};

/** Counts per connection; past the allowance the connection ends with ENHANCE_YOUR_CALM (HAZARDS H15). */
export class FloodGuard {
  readonly #limits: FloodLimits;
  readonly #nowMs: () => number;
  readonly #left: Record<FloodKind, number>;
  #refilledAtMs: number;

  constructor(limits: FloodLimits, nowMs: () => number) {
    this.#limits = limits;
    this.#nowMs = nowMs;
    this.#left = {
      reset: limits.reset.burst,
      control: limits.control.burst,
      windowUpdate: limits.windowUpdate.burst,
      tinyData: limits.tinyData.burst,
    };
    this.#refilledAtMs = nowMs();
  }

  /** @throws {ConnectionError} ENHANCE_YOUR_CALM */
  spend(kind: FloodKind, count = 1): void {
    this.#left[kind] -= count;
    if (this.#left[kind] >= 0) return;
    // The clock is looked at only here: most connections never get so far.
    this.#refill();
    if (this.#left[kind] < 0) throw new ConnectionError(ERROR_CODE.enhanceYourCalm, `too many frames: ${kind}`);
  }

  /** Useful work was done that honestly brings such frames with it. */
  credit(kind: FloodKind, count: number): void {
    const left = this.#left[kind] + count;
    const { burst } = this.#limits[kind];
    this.#left[kind] = left > burst ? burst : left;
  }

  #refill(): void {
    const nowMs = this.#nowMs();
    const seconds = (nowMs - this.#refilledAtMs) / 1000;
    this.#refilledAtMs = nowMs;
    for (const kind of Object.keys(this.#limits) as FloodKind[]) {
      this.credit(kind, seconds * this.#limits[kind].perSecond);
    }
  }
}
