/** Something that the engine must not do. */
export class ModelViolation extends Error {}

/** An upload of a value under a key, from its first byte to its outcome. */
export interface ModelWrite {
  readonly version: number;
  readonly begunAt: number;
  endedAt: number;
  /** `unknown`: failed, or nobody lived to hear of it. It may still turn up after a restart. */
  outcome: "open" | "acknowledged" | "unknown";
}

interface Entry {
  /** Any of these may be the one that is there. */
  writes: ModelWrite[];
  /** Every write that was ever begun and not refused. */
  readonly history: ModelWrite[];
  mayBeAbsent: boolean;
  isDamaged: boolean;
  evictedAt: number;
  leasedUntilSeconds: number;
}

/**
 * What may be found in an engine: for each key the values that may be there, and whether there may be none. Time is a
 * count of events. Only what the engine promises narrows it: an acknowledgement, a refusal, what was read.
 */
export class EngineModel {
  readonly #entries = new Map<string, Entry>();
  #now = 1;
  #restartedAt = 0;
  /** Reads failed while the engine was opened: it may miss anything until the next start, and find older values. */
  isDisturbed = false;

  now(): number {
    this.#now += 1;
    return this.#now;
  }

  begin(name: string, version: number): ModelWrite {
    const entry = this.#entry(name);
    const write: ModelWrite = { version, begunAt: this.now(), endedAt: Number.POSITIVE_INFINITY, outcome: "open" };
    entry.writes.push(write);
    entry.history.push(write);
    return write;
  }

  /**
   * I2: from now on it is there, and every value that was complete before it was begun is gone for good.
   * @param storedAnew Whether a value that is there already, perhaps damaged, does not count as stored.
   */
  acknowledge(name: string, write: ModelWrite, storedAnew: boolean): void {
    const entry = this.#entry(name);
    if (storedAnew) entry.isDamaged = false;
    write.endedAt = this.now();
    write.outcome = "acknowledged";
    entry.writes = entry.writes.filter(({ endedAt }) => endedAt >= write.begunAt);
    // Evicted before its uploader heard that it was stored.
    if (entry.evictedAt < write.begunAt && !entry.isDamaged) entry.mayBeAbsent = false;
  }

  /** It failed for a reason of the engine's or the disk's. */
  fail(write: ModelWrite): void {
    write.endedAt = this.now();
    write.outcome = "unknown";
  }

  isAllowed(name: string, version: number): boolean {
    const entry = this.#entry(name);
    return (this.isDisturbed ? entry.history : entry.writes).some((write) => write.version === version);
  }

  mayBeAbsent(name: string): boolean {
    const entry = this.#entry(name);
    return entry.mayBeAbsent || this.isDisturbed;
  }

  isDamaged(name: string): boolean {
    return this.#entry(name).isDamaged;
  }

  /** Whether nothing was ever stored under this key. */
  isUnwritten(name: string): boolean {
    return this.#entry(name).history.length === 0;
  }

  /**
   * A value was read, whole and checked.
   * @param sinceAt When the read was begun.
   * @param provesRecord Whether the record must be whole on disk: the read of an empty value takes no checksum.
   */
  observe(name: string, version: number, sinceAt: number, provesRecord = true): void {
    if (!this.isAllowed(name, version)) {
      const allowed = this.#entry(name).writes.map((write) => write.version);
      throw new ModelViolation(`${name}: expected one of the versions [${allowed.join()}], got ${version}`);
    }
    if (this.isDisturbed || (this.isDamaged(name) && !provesRecord)) return;
    const entry = this.#entry(name);
    // Of two writes that overlapped, the other one lost; one of unknown outcome is settled by a restart only.
    entry.writes = entry.writes.filter(
      ({ version: other, endedAt, outcome }) =>
        other === version || endedAt >= sinceAt || (outcome === "unknown" && endedAt > this.#restartedAt),
    );
    entry.isDamaged = false;
    if (entry.evictedAt < sinceAt) entry.mayBeAbsent = false;
  }

  /** @param unreadable Whether reads failed in this life: what cannot be read is taken out of the index (H8). */
  observeAbsent(name: string, unreadable: boolean): void {
    if (this.mayBeAbsent(name)) return;
    if (!unreadable) throw new ModelViolation(`${name}: lost`);
    this.#entry(name).mayBeAbsent = true;
  }

  /** A segment that held a record of this key is being removed. */
  evict(name: string, nowSeconds: number, leasesHold: boolean): void {
    const entry = this.#entry(name);
    entry.evictedAt = this.now();
    if (!leasesHold || !this.isLeased(name, nowSeconds)) entry.mayBeAbsent = true;
  }

  /** The index had no room for all that was found. */
  evictAll(): void {
    for (const entry of this.#entries.values()) entry.mayBeAbsent = true;
  }

  isLeased(name: string, nowSeconds: number): boolean {
    return this.#entry(name).leasedUntilSeconds > nowSeconds;
  }

  renewLease(name: string, untilSeconds: number): void {
    this.#entry(name).leasedUntilSeconds = untilSeconds;
  }

  /** A record of this key was damaged: it is a miss now, or an older value. */
  damage(name: string): void {
    const entry = this.#entry(name);
    entry.mayBeAbsent = true;
    entry.isDamaged = true;
    entry.writes = [...entry.history];
  }

  /** The process ended, or one of its shards; whoever was still waiting will not be told. */
  restart({ keepsLeases }: { keepsLeases: boolean }): void {
    const now = this.now();
    this.#restartedAt = now;
    for (const entry of this.#entries.values()) {
      if (!keepsLeases) entry.leasedUntilSeconds = 0;
      for (const write of entry.writes) if (write.outcome === "open") this.fail(write);
    }
  }

  /** At durability relaxed a power cut may lose what was acknowledged. */
  forgetUnsynced(): void {
    for (const entry of this.#entries.values()) {
      entry.mayBeAbsent = true;
      entry.writes = [...entry.history];
      for (const write of entry.writes) this.fail(write);
    }
  }

  #entry(name: string): Entry {
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = {
        writes: [],
        history: [],
        mayBeAbsent: true,
        isDamaged: false,
        evictedAt: 0,
        leasedUntilSeconds: 0,
      };
      this.#entries.set(name, entry);
    }
    return entry;
  }
}
