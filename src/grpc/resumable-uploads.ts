import type { StagedBlob } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import { type Timer, type Timers, systemTimers } from "../timers.ts";

export interface ResumableUploadsOptions {
  /** Interrupted uploads kept. Default 256. Past any of the bounds the one interrupted first is dropped first. */
  readonly keptMax?: number;
  /**
   * The sizes of their blobs in all, because staging reserves the whole size however little has come in. Default
   * 1 GiB; keep it well below the budget of staging, which they use up.
   */
  readonly keptBytesMax?: number;
  /** How long each is kept. Default 10 minutes. */
  readonly keptMsMax?: number;
  readonly timers?: Timers;
}

interface KeptUpload {
  readonly staged: StagedBlob;
  readonly expiry: Timer;
}

/**
 * Who owns the staged bytes of which upload (I5). A resource name is either claimed by the one stream that writes it,
 * or kept after a stream broke off, or unknown:
 *
 *     claim()              release()               claim()
 *     ───────► claimed by ───────────► kept, bytes ───────► claimed by the next stream
 *               a stream   │            staged     │
 *                          └─► unknown             └─► dropped: too old, too many, too large, room needed
 *
 * A stream that claims a name which another stream still holds takes it over: the earlier one is interrupted with
 * `unavailable`, finishes the write it is in, and releases; only then does the later one get the bytes. The later one
 * wins because a client that opens a second stream for a name has given up the first, whether or not the server has
 * noticed that its connection is gone. An earlier stream that is already committing waits for no message that could
 * be interrupted: it commits, releases, and the later one finds the blob present.
 */
export class ResumableUploads {
  readonly #keptMax: number;
  readonly #keptBytesMax: number;
  readonly #keptMsMax: number;
  readonly #timers: Timers;
  readonly #claims = new Map<string, UploadClaim>();
  /** In the order in which they were interrupted. */
  readonly #kept = new Map<string, KeptUpload>();
  #keptBytes = 0;

  constructor(options: ResumableUploadsOptions = {}) {
    this.#keptMax = options.keptMax ?? 256;
    this.#keptBytesMax = options.keptBytesMax ?? 1024 * 1024 * 1024;
    this.#keptMsMax = options.keptMsMax ?? 10 * 60_000;
    this.#timers = options.timers ?? systemTimers;
  }

  /** Bytes from which a stream for this name may go on; 0 where it is unknown. */
  committedBytes(name: string): number {
    return this.#claims.get(name)?.bytesCommitted ?? this.#kept.get(name)?.staged.bytesStaged ?? 0;
  }

  /**
   * Makes the caller the owner of the name and of what an earlier stream has left under it.
   * @param onTakenOver called when a later stream wants the name; the caller then releases its claim soon.
   * @throws {CacheError} cancelled where `signal` is aborted before the claim could be had.
   */
  claim(
    name: string,
    onTakenOver: (error: CacheError) => void,
    signal: AbortSignal,
  ): Promise<UploadClaim> | UploadClaim {
    // No await between a look-up and the entry: of several streams woken by one release exactly one gets the claim,
    // and the others take it over from that one.
    if (this.#claims.has(name) || signal.aborted) return this.#takeOver(name, onTakenOver, signal);
    return this.#enter(name, onTakenOver);
  }

  async #takeOver(name: string, onTakenOver: (error: CacheError) => void, signal: AbortSignal): Promise<UploadClaim> {
    for (;;) {
      if (signal.aborted) throw new CacheError("cancelled", "the call was cancelled");
      const holder = this.#claims.get(name);
      if (holder === undefined) return this.#enter(name, onTakenOver);
      holder.takeOver(new CacheError("unavailable", "another Write took over this resource name"));
      await holder.released;
    }
  }

  #enter(name: string, onTakenOver: (error: CacheError) => void): UploadClaim {
    const claim = new UploadClaim(this.#take(name), onTakenOver, (kept) => this.#release(name, kept));
    this.#claims.set(name, claim);
    return claim;
  }

  /** Drops everything that is kept, because staging needs the room or the server closes. */
  async dropKept(): Promise<void> {
    await Promise.all([...this.#kept.keys()].map((name) => this.#drop(name)));
  }

  #take(name: string): StagedBlob | undefined {
    const kept = this.#kept.get(name);
    if (kept === undefined) return undefined;
    kept.expiry.cancel();
    this.#kept.delete(name);
    this.#keptBytes -= reservedBytes(kept.staged);
    return kept.staged;
  }

  async #drop(name: string): Promise<void> {
    await this.#take(name)?.discard();
  }

  /** Moves from claimed to kept in one step, so that `committedBytes` never goes back in between. */
  async #release(name: string, staged: StagedBlob | undefined): Promise<void> {
    this.#claims.delete(name);
    if (staged === undefined) return;
    const expiry = this.#timers.start(this.#keptMsMax, () => {
      this.#drop(name).catch(() => undefined);
    });
    this.#kept.set(name, { staged, expiry });
    this.#keptBytes += reservedBytes(staged);
    await this.#dropExcess();
    // Minutes may pass before anybody comes back for it, if ever: staging memory is for those who are here.
    if (this.#kept.get(name)?.staged === staged) await staged.park();
  }

  async #dropExcess(): Promise<void> {
    for (const name of this.#kept.keys()) {
      if (this.#kept.size <= this.#keptMax && this.#keptBytes <= this.#keptBytesMax) return;
      await this.#drop(name);
    }
  }
}

function reservedBytes({ key, bytesStaged }: StagedBlob): number {
  return key.sizeBytes ?? bytesStaged;
}

/**
 * One stream's hold on an upload. There may be two sets of bytes: those that the stream writes, and those that an
 * earlier one left. A stream that starts again from 0 does not build on the earlier bytes, which may be the reason
 * why it starts again; but they stay until it has outgrown them, so that the committed size never goes back.
 */
export class UploadClaim {
  readonly takeOver: (error: CacheError) => void;
  readonly #onRelease: (kept: StagedBlob | undefined) => Promise<void>;
  readonly #released = Promise.withResolvers<void>();
  #earlier: StagedBlob | undefined;
  #current: StagedBlob | undefined;
  #isKept = true;

  constructor(
    earlier: StagedBlob | undefined,
    takeOver: (error: CacheError) => void,
    onRelease: (kept: StagedBlob | undefined) => Promise<void>,
  ) {
    this.#earlier = earlier;
    this.takeOver = takeOver;
    this.#onRelease = onRelease;
  }

  get bytesCommitted(): number {
    return Math.max(this.#earlier?.bytesStaged ?? 0, this.#current?.bytesStaged ?? 0);
  }

  /** Resolves when the next stream may have the name. */
  get released(): Promise<void> {
    return this.#released.promise;
  }

  /** The stream goes on where the earlier one stopped. @returns undefined where nothing was left. */
  resume(): StagedBlob | undefined {
    this.#current = this.#earlier;
    this.#earlier = undefined;
    return this.#current;
  }

  /** The stream starts from 0 into `staged`. */
  begin(staged: StagedBlob): StagedBlob {
    this.#current = staged;
    return staged;
  }

  /** Whether an earlier stream's bytes are there beside this one's. */
  get hasEarlier(): boolean {
    return this.#earlier !== undefined;
  }

  /** Whether the earlier bytes are the fewer: after each write, that is when they are to be dropped. */
  get hasOutgrown(): boolean {
    return this.#earlier !== undefined && this.#earlier.bytesStaged <= (this.#current?.bytesStaged ?? 0);
  }

  async dropEarlier(): Promise<void> {
    const earlier = this.#earlier;
    this.#earlier = undefined;
    await earlier?.discard();
  }

  /** Nothing of this upload will be kept. */
  drop(): void {
    this.#isKept = false;
  }

  /** Keeps the longer of the two for the next stream, unless `drop` was called, and frees the name. */
  async release(): Promise<void> {
    // Earlier bytes that have not been outgrown are the more.
    const [kept, ...discarded] = [this.#earlier, this.#current].filter((staged) => staged !== undefined);
    const isKept = this.#isKept && kept !== undefined && kept.bytesStaged > 0;
    if (!isKept && kept !== undefined) discarded.push(kept);
    try {
      await Promise.all(discarded.map((staged) => staged.discard()));
    } finally {
      await this.#onRelease(isKept ? kept : undefined).finally(() => this.#released.resolve());
    }
  }
}
