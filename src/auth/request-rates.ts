import { hash, randomBytes } from "node:crypto";
import { CacheError } from "../cache/cache-error.ts";
import { GenerationCache } from "../cache/generation-cache.ts";
import { clientNetwork } from "../client-network.ts";
import type { Clock } from "../clock.ts";

export interface RequestRatesOptions {
  /** Requests a second that each caller may make for long. */
  readonly requestRate: number;
  /** Requests that it may make at once after a pause. */
  readonly requestBurst: number;
  readonly clock: Clock;
  /** What another thread's are made with; a new one unless it is given. */
  readonly buffer?: SharedArrayBuffer | undefined;
  /** Callers that are told apart. Default 16,384. */
  readonly callerCountMax?: number;
}

const SECRET_WORDS = 4;
const SLOT_WORDS = 2;
const KEY = 0;
const FULL_AT = 1;
const CALLER_COUNT_MAX = 16_384;
/** Slots that a caller may have. */
const PROBES = 8;
/** Callers whose keys a thread remembers. */
const KEYS_MAX = 4096;
const NS_PER_MS = 1e6;
const NS_PER_SECOND = 1e9;

/**
 * A token bucket for each caller, in memory that all listeners share, so that its rate is one for the process.
 *
 *     64-bit words   0 … 3     4     5         6     7       …
 *                    secret    key   full at   key   full at
 *
 * A bucket is the time at which it is full again: each request puts that off by what one costs, and passes unless it is
 * then further away than a whole bucket takes to fill. So a caller that pauses leaves a slot that says nothing, and
 * whoever needs one takes it over; nobody evicts. Keys are hashes with a secret: nobody can aim at another's slots.
 *
 * At the bound, a caller that finds {@link PROBES} slots with buckets that are not full takes over the fullest as it
 * is, and whoever had that starts with a full one.
 */
export class RequestRates {
  readonly buffer: SharedArrayBuffer;
  readonly #words: BigInt64Array;
  readonly #secret: string;
  readonly #slotCount: number;
  readonly #intervalNs: bigint;
  readonly #bucketNs: bigint;
  readonly #requestRate: number;
  readonly #clock: Clock;
  readonly #keys = new GenerationCache<string, bigint>({ costMax: KEYS_MAX });

  constructor({ requestRate, requestBurst, clock, buffer, callerCountMax = CALLER_COUNT_MAX }: RequestRatesOptions) {
    this.buffer = buffer ?? newBuffer(callerCountMax);
    this.#words = new BigInt64Array(this.buffer);
    this.#secret = this.#words.subarray(0, SECRET_WORDS).join(" ");
    this.#slotCount = (this.#words.length - SECRET_WORDS) / SLOT_WORDS;
    this.#intervalNs = BigInt(Math.ceil(NS_PER_SECOND / requestRate));
    this.#bucketNs = this.#intervalNs * BigInt(requestBurst);
    this.#requestRate = requestRate;
    this.#clock = clock;
  }

  /**
   * Counts one request of the caller of that name; of whoever is at `address`, where it has none.
   * @throws {CacheError} resource_exhausted, with the time after which one will pass; that request costs nothing.
   */
  count(callerName: string | undefined, address: string): void {
    const key = this.#keyOf(callerName ?? clientNetwork(address));
    const nowNs = BigInt(Math.floor(this.#clock.monotonicMs() * NS_PER_MS));
    const fullAt = this.#slotOf(key) + FULL_AT;
    for (;;) {
      const before = Atomics.load(this.#words, fullAt);
      const after = (before > nowNs ? before : nowNs) + this.#intervalNs;
      const tooEarlyNs = after - nowNs - this.#bucketNs;
      if (tooEarlyNs > 0n) throw this.#refusal(Number(tooEarlyNs) / NS_PER_MS);
      // Another thread may have counted a request since `before` was read: then this one is counted on top of it. Or it
      // has taken the slot over, and its caller pays for one request that was not its own.
      if (Atomics.compareExchange(this.#words, fullAt, before, after) === before) return;
    }
  }

  #keyOf(caller: string): bigint {
    const known = this.#keys.get(caller);
    if (known !== undefined) return known;
    const key = hash("sha256", `${this.#secret} ${caller}`, "buffer").readBigInt64LE();
    this.#keys.set(caller, key, 1);
    return key;
  }

  /** Index of the first word of the caller's slot. */
  #slotOf(key: bigint): number {
    const first = Number(BigInt.asUintN(32, key));
    for (;;) {
      let fullest = 0;
      let fullestAt = 0n;
      for (let probe = 0; probe < PROBES; probe++) {
        const slot = SECRET_WORDS + ((first + probe) % this.#slotCount) * SLOT_WORDS;
        if (Atomics.load(this.#words, slot + KEY) === key) return slot;
        const fullAt = Atomics.load(this.#words, slot + FULL_AT);
        if (probe === 0 || fullAt < fullestAt) [fullest, fullestAt] = [slot, fullAt];
      }
      const had = Atomics.load(this.#words, fullest + KEY);
      // Of two threads that want the slot one gets it; the other looks again, as it may be for the same caller.
      if (Atomics.compareExchange(this.#words, fullest + KEY, had, key) === had) return fullest;
    }
  }

  #refusal(retryAfterMs: number): CacheError {
    const message = `too many requests of this caller: expected at most ${this.#requestRate} a second`;
    return new CacheError("resource_exhausted", message, { retryAfterMs, shedBy: "rate" });
  }
}

function newBuffer(slotCount: number): SharedArrayBuffer {
  const words = new BigInt64Array(new SharedArrayBuffer((SECRET_WORDS + slotCount * SLOT_WORDS) * 8));
  words.set(new BigInt64Array(new Uint8Array(randomBytes(SECRET_WORDS * 8)).buffer));
  return words.buffer;
}
