import type { DetachedBlob, StagedBlob } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import { type Timer, type Timers, systemTimers } from "../timers.ts";

/**
 * What the other listener threads have under the same names: a client that comes back may reach any of them. Only a
 * stream that goes on where another stopped asks; one that starts from 0 needs nobody.
 */
export interface UploadPeers {
  /** The most that any listener has under the name, this one included. */
  committedBytes(name: string): Promise<number>;
  /**
   * Has `attach` take what another listener has under the name, if that is more than `moreThanBytes`. A stream that
   * writes it there is interrupted first. Until `attach` is done, nobody else is told of the name's bytes.
   */
  take(
    name: string,
    moreThanBytes: number,
    attach: (detached: DetachedBlob) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
  /** How many uploads this listener keeps now. */
  noteKept(count: number): void;
  /** Whether another listener keeps any upload. */
  readonly othersKeep: boolean;
  /** Nothing of the name is wanted any more: the others drop what they keep of it. */
  forget(name: string): void;
  /** The others drop all that they keep. */
  dropKept(): Promise<void>;
}

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
  /** Default: there are no other listeners. */
  readonly peers?: UploadPeers;
}

/** Time that an orderly stop takes for what is kept; what is left then is kept too, as after any other end. */
const LEAVE_MS_MAX = 5000;

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
  readonly #peers: UploadPeers | undefined;
  readonly #claims = new Map<string, UploadClaim>();
  /** In the order in which they were interrupted. */
  readonly #kept = new Map<string, KeptUpload>();
  #keptBytes = 0;

  constructor(options: ResumableUploadsOptions = {}) {
    this.#keptMax = options.keptMax ?? 256;
    this.#keptBytesMax = options.keptBytesMax ?? 1024 * 1024 * 1024;
    this.#keptMsMax = options.keptMsMax ?? 10 * 60_000;
    this.#timers = options.timers ?? systemTimers;
    this.#peers = options.peers;
  }

  /** Bytes from which a stream for this name may go on, at whichever listener; 0 where it is unknown. */
  committedBytes(name: string): Promise<number> | number {
    return this.#peers === undefined ? this.bytesHere(name) : this.#peers.committedBytes(name);
  }

  /** The same of this listener alone. */
  bytesHere(name: string): number {
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

  /** Brings to a claim what another listener has under its name, if that is more. */
  async fetch(
    name: string,
    claim: UploadClaim,
    attach: (detached: DetachedBlob) => Promise<StagedBlob>,
  ): Promise<void> {
    const put = async (detached: DetachedBlob): Promise<void> => claim.replaceEarlier(await attach(detached));
    await this.#peers?.take(name, claim.bytesCommitted, put, claim.takenOver);
  }

  /**
   * Gives up what is here under the name to another listener.
   * @throws {CacheError} where the bytes cannot leave memory: then they stay here.
   */
  async surrender(name: string): Promise<DetachedBlob | undefined> {
    const claim = await this.claim(name, () => undefined, new AbortController().signal);
    try {
      const detached = await claim.resume()?.detach();
      claim.drop();
      return detached;
    } finally {
      await claim.release();
    }
  }

  /** Drops what is kept under the name; a stream that writes it goes on. */
  async forget(name: string): Promise<void> {
    await this.#drop(name);
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
    const claim = new UploadClaim(name, this.#take(name), onTakenOver, (kept, isDropped) => {
      if (isDropped && this.#peers?.othersKeep === true) this.#peers.forget(name);
      return this.#release(name, kept);
    });
    this.#claims.set(name, claim);
    return claim;
  }

  /** Drops everything that is kept at every listener, because staging needs the room. */
  async makeRoom(): Promise<void> {
    await Promise.all([this.dropKept(), this.#peers?.dropKept()]);
  }

  /** Drops everything that is kept here. */
  async dropKept(): Promise<void> {
    await Promise.all([...this.#kept.keys()].map((name) => this.#drop(name)));
  }

  /** Leaves everything that is kept here to the next process. */
  async leaveKept(): Promise<void> {
    const late = new AbortController();
    const timer = this.#timers.start(LEAVE_MS_MAX, () => late.abort());
    for (const name of this.#kept.keys())
      await this.#take(name)
        ?.leave(late.signal)
        .catch(() => undefined);
    timer.cancel();
  }

  #take(name: string): StagedBlob | undefined {
    const kept = this.#kept.get(name);
    if (kept === undefined) return undefined;
    kept.expiry.cancel();
    this.#kept.delete(name);
    this.#keptBytes -= reservedBytes(kept.staged);
    this.#peers?.noteKept(this.#kept.size);
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
    this.#peers?.noteKept(this.#kept.size);
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
  readonly #name: string;
  readonly #onTakenOver: (error: CacheError) => void;
  readonly #onRelease: (kept: StagedBlob | undefined, isDropped: boolean) => Promise<void>;
  #isTakenOver = false;
  #takenOver: AbortController | undefined;
  readonly #released = Promise.withResolvers<void>();
  #earlier: StagedBlob | undefined;
  #current: StagedBlob | undefined;
  #isKept = true;

  constructor(
    name: string,
    earlier: StagedBlob | undefined,
    onTakenOver: (error: CacheError) => void,
    onRelease: (kept: StagedBlob | undefined, isDropped: boolean) => Promise<void>,
  ) {
    this.#name = name;
    this.#earlier = earlier;
    this.#onTakenOver = onTakenOver;
    this.#onRelease = onRelease;
  }

  get bytesCommitted(): number {
    return Math.max(this.#earlier?.bytesStaged ?? 0, this.#current?.bytesStaged ?? 0);
  }

  /** Tells the stream that a later one wants the name. */
  takeOver(error: CacheError): void {
    this.#isTakenOver = true;
    this.#takenOver?.abort();
    this.#onTakenOver(error);
  }

  /** Aborted once a later stream wants the name: two that wait for each other's bytes would wait for ever. */
  get takenOver(): AbortSignal {
    this.#takenOver ??= new AbortController();
    if (this.#isTakenOver) this.#takenOver.abort();
    return this.#takenOver.signal;
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

  /** What came from another listener takes the place of what an earlier stream has left here. */
  async replaceEarlier(staged: StagedBlob): Promise<void> {
    const replaced = this.#earlier;
    this.#earlier = staged;
    await replaced?.discard();
  }

  /** The stream starts from 0 into `staged`. */
  begin(staged: StagedBlob): StagedBlob {
    staged.keepAs(this.#name);
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
      await this.#onRelease(isKept ? kept : undefined, !this.#isKept).finally(() => this.#released.resolve());
    }
  }
}
