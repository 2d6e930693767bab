import type { BlobStore } from "../../cache/blob-store.ts";
import { CacheError } from "../../cache/cache-error.ts";
import type { Digest, DigestFunctionName } from "../../cache/digest.ts";
import type { Clock } from "../../clock.ts";
import { systemTimers, type Timers } from "../../timers.ts";
import { AssetFailure } from "../asset.ts";
import type { Integrity } from "../subresource-integrity.ts";
import type { AddressGuard } from "./address-guard.ts";
import { ContentIntake, type ContentIntakeOptions } from "./content-intake.ts";
import { failureOf, getFromOrigin, PassingFailure } from "./origin-response.ts";

export interface OriginFetchesOptions extends ContentIntakeOptions {
  readonly guard: AddressGuard;
  readonly clock: Clock;
  readonly timers?: Timers;
  /** From the first connection to the last byte, all attempts together. */
  readonly timeoutMs: number;
  /** Without a byte for this long, an attempt has failed. Default 30 s. */
  readonly idleMsMax?: number;
  /** Fetches at the same time; past it a fetch is refused with a time to come again. Default 16. */
  readonly fetchesMax?: number;
  /** Default 4. */
  readonly attemptsMax?: number;
  /** Before the second attempt; each wait after it is twice as long. Default 250 ms. */
  readonly backoffMs?: number;
  /** Default 5. */
  readonly redirectsMax?: number;
}

export interface OriginSpec {
  /** Fetches of the same name are one fetch. */
  readonly name: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly integrity: Integrity | undefined;
  readonly fn: DigestFunctionName;
  /** Where the content goes. */
  readonly blobs: BlobStore;
  /** Called with what was fetched before anybody is told, also where nobody waits any more. */
  readonly onFetched: (fetched: FetchedContent) => Promise<void>;
}

export interface FetchedContent {
  readonly digest: Digest;
  /** When the retrieval was begun: milliseconds since the epoch. */
  readonly startedAtMs: number;
}

interface Flight {
  readonly startedAtMs: number;
  readonly landed: Promise<FetchedContent>;
}

/** No origin makes us wait longer than this before we ask it again. */
const BACKOFF_MS_MAX = 10_000;

/**
 * Downloads from origins. A download belongs to nobody: clients that want the same wait for the same one, and it goes
 * on when they leave, so that what a build gave up waiting for is there for the next (FetchBlobRequest.timeout).
 */
export class OriginFetches implements AsyncDisposable {
  readonly #options: OriginFetchesOptions;
  readonly #timers: Timers;
  readonly #intake: ContentIntake;
  readonly #flights = new Map<string, Flight>();
  readonly #closing = new AbortController();
  readonly #landings = new Set<Promise<unknown>>();

  constructor(options: OriginFetchesOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#intake = new ContentIntake(options);
  }

  /**
   * @param oldestAcceptedMs a download that was begun before this is not joined.
   * @param signal ends the wait, not the download.
   * @throws {AssetFailure} where the origin is at fault; {CacheError} where this server is.
   */
  fetch(spec: OriginSpec, oldestAcceptedMs: number, signal: AbortSignal): Promise<FetchedContent> {
    const flying = this.#flights.get(spec.name);
    const flight = flying !== undefined && flying.startedAtMs >= oldestAcceptedMs ? flying : this.#start(spec);
    return untilAborted(flight.landed, signal);
  }

  /** Ends all downloads. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new CacheError("unavailable", "the cache is shutting down"));
    await Promise.allSettled(this.#landings);
  }

  #start(spec: OriginSpec): Flight {
    const { fetchesMax = 16, clock, timeoutMs } = this.#options;
    this.#closing.signal.throwIfAborted();
    if (this.#landings.size >= fetchesMax) {
      throw new CacheError("resource_exhausted", `origin fetches: expected at most ${fetchesMax} at the same time`, {
        retryAfterMs: 1000,
      });
    }
    const startedAtMs = clock.wallMs();
    const landed = this.#within(timeoutMs, (signal) => this.#retrieve(spec, startedAtMs, signal));
    const flight = { startedAtMs, landed };
    this.#flights.set(spec.name, flight);
    const landing = landed
      .catch(() => undefined)
      .finally(() => {
        this.#landings.delete(landing);
        if (this.#flights.get(spec.name) === flight) this.#flights.delete(spec.name);
      });
    this.#landings.add(landing);
    return flight;
  }

  /** Runs `action` with a signal that is aborted after a time, and when the server closes. */
  async #within<T>(timeoutMs: number, action: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = new AbortController();
    const timer = this.#timers.start(timeoutMs, () => {
      late.abort(new AssetFailure("deadline_exceeded", `the origin did not finish within ${timeoutMs} ms`));
    });
    try {
      return await action(AbortSignal.any([late.signal, this.#closing.signal]));
    } finally {
      timer.cancel();
    }
  }

  async #retrieve(spec: OriginSpec, startedAtMs: number, signal: AbortSignal): Promise<FetchedContent> {
    const fetched = { digest: await this.#download(spec, signal), startedAtMs };
    await spec.onFetched(fetched);
    return fetched;
  }

  async #download(spec: OriginSpec, signal: AbortSignal): Promise<Digest> {
    const { attemptsMax = 4, backoffMs = 250 } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(spec, signal);
      } catch (error) {
        if (!(error instanceof PassingFailure) || attempt >= attemptsMax) throw error;
        const waitMs = Math.max(backoffMs * 2 ** (attempt - 1), error.retryAfterMs ?? 0);
        await this.#wait(Math.min(waitMs, BACKOFF_MS_MAX), signal);
      }
    }
  }

  async #attempt({ url, headers, blobs, fn, integrity }: OriginSpec, signal: AbortSignal): Promise<Digest> {
    const { guard, redirectsMax = 5, idleMsMax = 30_000 } = this.#options;
    signal.throwIfAborted();
    const { body, sizeBytes } = await getFromOrigin(url, { guard, headers, redirectsMax, idleMsMax, signal });
    try {
      return await this.#intake.take(body, { blobs, fn, sizeBytes, integrity }, signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error instanceof CacheError ? error : failureOf(url, error);
    } finally {
      body.destroy();
    }
  }

  #wait(delayMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#timers.start(delayMs, resolve);
    return untilAborted(promise, signal).finally(() => timer.cancel());
  }
}

/** Settles as `promise` does, or with the reason of `signal`, whichever comes first. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
