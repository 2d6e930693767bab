import type { Clock } from "../../clock.ts";
import type { DiskLedger } from "../disk-ledger.ts";
import type { EngineLogger } from "../engine-options.ts";
import type { FileSystem } from "../file-system.ts";
import { favouredOwners, type OwnedBytes } from "./fair-share.ts";
import { decodeOwnerNames, encodeOwnerNames, readOwnerNames, writeOwnerNames } from "./owner-names.ts";
import { UseMarks } from "./use-marks.ts";

export interface OwnersOptions {
  readonly fileSystem: FileSystem;
  /** Of the file with the names. */
  readonly path: string;
  readonly ledger: DiskLedger;
  readonly clock: Clock;
  readonly logger: EngineLogger;
  /** What all owners share. */
  readonly budgetBytes: number;
  /** What the records of an owner take on disk. */
  readonly bytesOf: (owner: number) => number;
  /** What an instance may have at the most; undefined: whatever finds room. */
  readonly quotaOf: (name: string) => number | undefined;
}

/** An owner by its number, as it is told to other threads. */
export interface OwnerEntry {
  readonly owner: number;
  readonly quotaBytes: number | undefined;
}

/** What is stored on account of an instance. */
export interface Account {
  /** Undefined where the file with the names has lost it. */
  readonly name: string | undefined;
  readonly bytes: number;
  readonly quotaBytes: number | undefined;
}

interface Holder {
  readonly name: string | undefined;
  readonly quotaBytes: number | undefined;
  lastUsedMs: number;
}

const NOBODY = 0;
/** Instances that have an account; those that come when there are so many are nobody. */
const OWNERS_MAX = 16_384;
const NAME_CHARACTERS_MAX = 512;
/** Who has neither read nor written for so long has no share. */
const IDLE_MS_MAX = 7 * 24 * 3_600_000;
/** How old the times of last use on disk may be. */
const USE_SAVED_MS = 3_600_000;

/**
 * Who has an account in the store: names and numbers, who is in use, and who is favoured when room is made. There is one
 * an engine, on the main thread; a listener thread asks it for the number of each instance once.
 *
 * A number is one instance's for as long as the process lives and as long as there are records with it; then, at a start,
 * it is free.
 */
export class Owners {
  readonly marks = new UseMarks();
  private readonly options: OwnersOptions;
  private readonly numbers = new Map<string, number>();
  private readonly holders = new Map<number, Holder>();
  private fileBytes = 0;
  private isNamesDirty = false;
  private isUseDirty = false;
  private savedMs: number;

  /** Once the shards are loaded: what has no records left gives back its number. */
  constructor(options: OwnersOptions) {
    this.options = options;
    this.savedMs = options.clock.monotonicMs();
    this.readNames();
    // The name that such records had is not known: nobody else gets their number.
    for (let owner = 1; owner <= OWNERS_MAX; owner += 1) {
      if (options.bytesOf(owner) === 0 || this.holders.has(owner)) continue;
      this.holders.set(owner, { name: undefined, quotaBytes: undefined, lastUsedMs: this.savedMs });
    }
  }

  /** @param isNew Whether it gets an account where it has none. @returns undefined where it has none. */
  find(name: string, isNew: boolean): OwnerEntry | undefined {
    const owner = this.numbers.get(name) ?? (isNew ? this.enter(name) : undefined);
    return owner === undefined ? undefined : { owner, quotaBytes: this.quotaOf(owner) };
  }

  /** What an owner may have at the most. */
  quotaOf(owner: number): number | undefined {
    return this.holders.get(owner)?.quotaBytes;
  }

  /** Whose records are to be kept now. */
  favoured(): number[] {
    this.collectUses();
    const { clock, budgetBytes, bytesOf } = this.options;
    const sinceMs = clock.monotonicMs() - IDLE_MS_MAX;
    const inUse: OwnedBytes[] = [];
    for (const [owner, { lastUsedMs }] of this.holders) {
      const bytes = bytesOf(owner);
      if (bytes > 0 && lastUsedMs >= sinceMs) inUse.push({ owner, bytes });
    }
    return favouredOwners(inUse, budgetBytes);
  }

  /** Of all that have something stored. */
  *accounts(): Generator<Account> {
    for (const [owner, { name, quotaBytes }] of this.holders) {
      const bytes = this.options.bytesOf(owner);
      if (bytes > 0) yield { name, bytes, quotaBytes };
    }
  }

  /** Those who have more than they may. */
  *overQuota(): Generator<number> {
    for (const [owner, { quotaBytes }] of this.holders) {
      if (quotaBytes !== undefined && this.options.bytesOf(owner) > quotaBytes) yield owner;
    }
  }

  /** Saves what has changed, if it is worth it. What fails is told and tried again. */
  save(): void {
    this.collectUses();
    const { clock, logger } = this.options;
    const nowMs = clock.monotonicMs();
    if (!this.isNamesDirty && !(this.isUseDirty && nowMs - this.savedMs >= USE_SAVED_MS)) return;
    try {
      this.writeNames(nowMs);
    } catch (error) {
      logger.error({ err: error }, "the names of instances could not be saved");
    }
  }

  private enter(name: string): number {
    if (name.length > NAME_CHARACTERS_MAX) return NOBODY;
    let owner = 1;
    while (this.holders.has(owner)) owner += 1;
    if (owner > OWNERS_MAX) return NOBODY;
    this.hold(owner, name, this.options.clock.monotonicMs());
    this.isNamesDirty = true;
    return owner;
  }

  private hold(owner: number, name: string, lastUsedMs: number): void {
    this.numbers.set(name, owner);
    this.holders.set(owner, { name, quotaBytes: this.options.quotaOf(name), lastUsedMs });
  }

  private collectUses(): void {
    const nowMs = this.options.clock.monotonicMs();
    for (const [owner, holder] of this.holders) {
      if (!this.marks.take(owner)) continue;
      holder.lastUsedMs = nowMs;
      this.isUseDirty = true;
    }
  }

  private readNames(): void {
    const { fileSystem, path, ledger, clock, logger, bytesOf } = this.options;
    let bytes: Buffer | undefined;
    try {
      bytes = readOwnerNames(fileSystem, path);
    } catch (error) {
      logger.warn({ err: error }, "the names of instances could not be read");
      return;
    }
    if (bytes === undefined) return;
    this.fileBytes = bytes.length;
    ledger.charge(bytes.length);
    const named = decodeOwnerNames(bytes);
    if (named === undefined) logger.warn({ path }, "the names of instances are damaged: they are left out");
    for (const { owner, name, lastUsedAtMs } of named ?? []) {
      if (owner > OWNERS_MAX || bytesOf(owner) === 0 || this.numbers.has(name) || this.holders.has(owner)) continue;
      // How long ago, which a jump of the clock may get wrong: then somebody has a share for too long, or none.
      this.hold(owner, name, this.savedMs - Math.max(0, clock.wallMs() - lastUsedAtMs));
    }
  }

  private writeNames(nowMs: number): void {
    const { fileSystem, path, ledger, clock } = this.options;
    const wallMs = clock.wallMs();
    const named = Array.from(this.holders, ([owner, { name, lastUsedMs }]) =>
      name === undefined ? [] : [{ owner, name, lastUsedAtMs: wallMs - (nowMs - lastUsedMs) }],
    );
    const bytes = encodeOwnerNames(named.flat());
    // Beside the old one until that is replaced (I7).
    if (!ledger.tryReserve(bytes.length, 0)) return;
    try {
      writeOwnerNames(fileSystem, path, bytes);
    } catch (error) {
      ledger.release(bytes.length);
      throw error;
    }
    ledger.release(this.fileBytes);
    this.fileBytes = bytes.length;
    this.isNamesDirty = false;
    this.isUseDirty = false;
    this.savedMs = nowMs;
  }
}
