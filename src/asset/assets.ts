import type { BlobStore } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import type { Digest, DigestFunctionName } from "../cache/digest.ts";
import type { OutputReferencesReader } from "../cache/output-references.ts";
import type { Clock } from "../clock.ts";
import { systemTimers, type Timers } from "../timers.ts";
import { type Asset, AssetFailure, type AssetKind, type AssetName, type Qualifier } from "./asset.ts";
import { AssetClosure } from "./asset-closure.ts";
import { type AssetStore, nameText } from "./asset-store.ts";
import { checkFetchable, headersFor, integrityOf } from "./origin/origin-qualifiers.ts";
import type { OriginFetches } from "./origin/origin-fetches.ts";
import { isOriginUrl } from "./origin/origin-response.ts";

export interface AssetsOptions {
  readonly store: AssetStore;
  readonly blobs: BlobStore;
  readonly references: OutputReferencesReader;
  readonly clock: Clock;
  readonly timers?: Timers;
  /** Undefined: only what was pushed is found. */
  readonly origins: OriginFetches | undefined;
}

interface AssetScope {
  readonly instanceName: string;
  readonly kind: AssetKind;
  readonly fn: DigestFunctionName;
  /** At least one. */
  readonly uris: readonly string[];
  /** No name twice. */
  readonly qualifiers: readonly Qualifier[];
}

export interface PushRequest extends AssetScope {
  readonly digest: Digest;
  readonly expireAtMs: number | undefined;
  readonly blobs: readonly Digest[];
  readonly directories: readonly Digest[];
}

export interface FetchRequest extends AssetScope {
  /** Content that was pushed, or whose retrieval was begun, before this does not do: milliseconds since the epoch. */
  readonly oldestAcceptedMs: number | undefined;
  /** How long an origin may take; undefined: as long as the server lets it. */
  readonly timeoutMs: number | undefined;
}

/** What came of a fetch, and by which URI. */
export type FetchOutcome =
  | { readonly uri: string; readonly digest: Digest }
  | { readonly uri: string; readonly failure: AssetFailure };

/** The Remote Asset API: content by URI and qualifiers instead of by digest. */
export class Assets {
  readonly #store: AssetStore;
  readonly #blobs: BlobStore;
  readonly #closure: AssetClosure;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #origins: OriginFetches | undefined;

  constructor({ store, blobs, references, clock, timers = systemTimers, origins }: AssetsOptions) {
    this.#store = store;
    this.#blobs = blobs;
    this.#closure = new AssetClosure(blobs, references);
    this.#clock = clock;
    this.#timers = timers;
    this.#origins = origins;
  }

  /**
   * Files a digest under each of the URIs. Qualifiers are believed, but for a checksum that the digest contradicts.
   * @throws {CacheError} failed_precondition where some of what the asset stands for is not in the CAS.
   */
  async push(request: PushRequest): Promise<void> {
    const { kind, digest, expireAtMs, blobs, directories } = request;
    const integrity = kind === "blob" ? integrityOf(request.qualifiers) : undefined;
    if (integrity?.algorithm === digest.fn && !integrity.hashes.includes(digest.hash)) {
      throw new CacheError(
        "invalid_argument",
        "qualifiers checksum.sri: expected the hash of blob_digest, got another",
      );
    }
    const asset: Asset = { digest, storedAtMs: this.#clock.wallMs(), expireAtMs, blobs, directories };
    if (!(await this.#closure.isPresent(kind, asset))) {
      throw new CacheError(
        "failed_precondition",
        "expected all that the asset stands for in the CAS, got blobs missing",
      );
    }
    await Promise.all(request.uris.map((uri) => this.#store.put(nameOf(request, uri), asset)));
  }

  /**
   * What is stored under one of the URIs, if all of it is in the CAS, which it then is for a while; else a blob from
   * the first origin that has it.
   * @throws {CacheError} invalid_argument for qualifiers that no origin can be asked to honour.
   */
  async fetch(request: FetchRequest, signal: AbortSignal): Promise<FetchOutcome> {
    for (const uri of request.uris) {
      const asset = await this.#store.get(nameOf(request, uri));
      if (asset === undefined || !this.#isAccepted(asset, request)) continue;
      if (await this.#closure.isPresent(request.kind, asset)) return { uri, digest: asset.digest };
    }
    const origins = this.#origins;
    const urls = request.kind === "blob" && origins !== undefined ? request.uris.filter(isOriginUrl) : [];
    if (origins === undefined || urls.length === 0) return { uri: request.uris[0] ?? "", failure: notStored() };
    checkFetchable(request.qualifiers, request.uris.length);
    return this.#within(request.timeoutMs, signal, (until) => this.#fetchFromOrigins(origins, request, urls, until));
  }

  async #fetchFromOrigins(
    origins: OriginFetches,
    request: FetchRequest,
    urls: readonly string[],
    signal: AbortSignal,
  ): Promise<FetchOutcome> {
    let outcome: FetchOutcome = { uri: "", failure: notStored() };
    for (const uri of urls) {
      try {
        return { uri, digest: await this.#fetchFromOrigin(origins, request, uri, signal) };
      } catch (error) {
        if (!(error instanceof AssetFailure)) throw error;
        outcome = { uri, failure: error };
        // The time is up for all of them.
        if (signal.aborted) break;
      }
    }
    return outcome;
  }

  async #fetchFromOrigin(
    origins: OriginFetches,
    request: FetchRequest,
    uri: string,
    signal: AbortSignal,
  ): Promise<Digest> {
    const name = nameOf(request, uri);
    const spec = {
      name: nameText(name),
      url: new URL(uri),
      headers: headersFor(request.qualifiers, request.uris.indexOf(uri)),
      integrity: integrityOf(request.qualifiers),
      fn: request.fn,
      blobs: this.#blobs,
      onFetched: ({ digest, startedAtMs }: { digest: Digest; startedAtMs: number }) =>
        this.#store.put(name, {
          digest,
          storedAtMs: startedAtMs,
          expireAtMs: undefined,
          blobs: [],
          directories: [],
        }),
    };
    // Nothing can be newer than what is fetched from now on, whatever the client's clock says.
    const { digest } = await origins.fetch(spec, request.oldestAcceptedMs ?? 0, signal);
    // It was stored a moment ago, or found: either way it is used now.
    if (!(await this.#blobs.renewAll([digest]))) {
      throw new CacheError("unavailable", "the content was retired before it could be handed out", { retryAfterMs: 0 });
    }
    return digest;
  }

  #isAccepted({ storedAtMs, expireAtMs }: Asset, { oldestAcceptedMs }: FetchRequest): boolean {
    const isExpired = expireAtMs !== undefined && expireAtMs <= this.#clock.wallMs();
    return !isExpired && (oldestAcceptedMs === undefined || storedAtMs >= oldestAcceptedMs);
  }

  async #within(
    timeoutMs: number | undefined,
    signal: AbortSignal,
    action: (signal: AbortSignal) => Promise<FetchOutcome>,
  ): Promise<FetchOutcome> {
    if (timeoutMs === undefined) return action(signal);
    const late = new AbortController();
    const timer = this.#timers.start(timeoutMs, () => {
      late.abort(new AssetFailure("deadline_exceeded", `timeout: the origin did not finish within ${timeoutMs} ms`));
    });
    try {
      return await action(AbortSignal.any([late.signal, signal]));
    } finally {
      timer.cancel();
    }
  }
}

function nameOf({ instanceName, kind, fn, qualifiers }: AssetScope, uri: string): AssetName {
  return { instanceName, kind, fn, uri, qualifiers };
}

function notStored(): AssetFailure {
  return new AssetFailure("not_found", "nothing is stored under these uris and qualifiers");
}
