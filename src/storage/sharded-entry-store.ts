import { keyBytes } from "../cache/key-words.ts";
import { CacheError } from "../cache/cache-error.ts";
import type { EntryKey } from "../cache/entry-key.ts";
import type { ByteRange, EntryContent, EntryPut, EntryStore, StagedEntry, StageOptions } from "../cache/entry-store.ts";
import type { Clock } from "../clock.ts";
import type { EngineOptions, EngineSizes } from "./engine-options.ts";
import type { DiskLedger } from "./disk-ledger.ts";
import { type FileSystem, isPassing } from "./file-system.ts";
import { shardOfKey } from "./index/index-layout.ts";
import type { FoundEntry, IndexReader } from "./index/index-reader.ts";
import type { HotRecords } from "./hot-records.ts";
import { Housekeeping } from "./housekeeping.ts";
import { leaseSeconds } from "./lease-clock.ts";
import { openEngine } from "./open-engine.ts";
import type { Retirement } from "./retirement.ts";
import { ChunkBuffers } from "./segment/chunk-buffers.ts";
import { MemoryContent } from "./segment/memory-content.ts";
import type { PromptReads } from "./segment/prompt-reads.ts";
import { RecordContent } from "./segment/record-content.ts";
import { RECORD_HEADER_BYTES } from "./segment/segment-format.ts";
import type { PinnedSegment, SegmentReaders } from "./segment/segment-readers.ts";
import type { QuarantinedRecord } from "./shard/shard-protocol.ts";
import { SHARD_STATS, type ShardStatName, type ShardStatsSnapshot } from "./shard/shard-stats.ts";
import type { SupervisedShard } from "./shard/supervised-shard.ts";
import { StagedBatch } from "./staging/staged-batch.ts";
import { StagedUpload, type StagingContext } from "./staging/staged-upload.ts";

/** The parts that `openEngine` puts together. */
export interface EngineParts {
  readonly options: EngineOptions;
  readonly sizes: EngineSizes;
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly lock: Disposable;
  readonly ledger: DiskLedger;
  readonly shards: readonly SupervisedShard[];
  readonly staging: StagingContext;
  readonly readers: SegmentReaders;
  readonly promptReads: PromptReads;
  readonly hotRecords: HotRecords;
  readonly retirement: Retirement;
}

/** A record that was taken out of the index because its checksum failed. */
export interface QuarantineReport {
  readonly space: number;
  readonly key: string;
  readonly segmentId: number;
  readonly offset: number;
  readonly at: string;
}

const QUARANTINE_REPORTS_MAX = 100;

/** Numbers for `/status` and `/metrics`. */
export interface EngineStats {
  readonly entries: number;
  readonly bytesUsed: number;
  readonly bytesMax: number;
  readonly stagingMemoryBytes: number;
  readonly stagingFileBytes: number;
  readonly hotRecordBytes: number;
  readonly shardCount: number;
  /** How long an entry written now is expected to live; 0 while there is nothing to go by. */
  readonly expectedLifetimeSeconds: number;
  /** The latest records that failed their checksum. */
  readonly quarantined: readonly QuarantineReport[];
  /** Sums over the shards; of what has no sum, the oldest. */
  readonly totals: ShardStatsSnapshot;
  readonly shards: readonly (ShardStatsSnapshot & { entries: number; callsInFlight: number })[];
}

const WHOLE: ByteRange = { offset: 0 };

/** A location that moved while it was being opened is looked up again, this often at the most. */
const LOOKUP_ATTEMPTS = 4;

/**
 * The engine on the side of its users: looks entries up in shared memory, reads segments in place, stages uploads
 * and hands them to the shard that owns the key. See README.md in this folder.
 */
export class ShardedEntryStore implements EntryStore, AsyncDisposable {
  private readonly parts: EngineParts;
  private readonly housekeeping: Housekeeping;
  private readonly quarantined: QuarantineReport[] = [];
  private readonly chunkBuffers = new ChunkBuffers();
  private closed = false;

  private constructor(parts: EngineParts) {
    this.parts = parts;
    this.housekeeping = new Housekeeping({
      options: parts.options,
      shards: parts.shards,
      onCorrupt: (record) => this.noteQuarantine(record),
      expectedLifetimeSeconds: () => this.expectedLifetimeSeconds(),
    });
  }

  /** Locks the directory, recovers what is in it and starts the shard workers. */
  static async open(options: EngineOptions): Promise<ShardedEntryStore> {
    return new ShardedEntryStore(await openEngine(options));
  }

  get entryBytesMax(): number {
    return this.parts.sizes.entryBytesMax;
  }

  /** Why uploads are refused, or undefined while all is well. */
  get readOnlyReason(): string | undefined {
    return this.parts.shards.find((shard) => shard.fault !== undefined)?.fault;
  }

  peek(key: EntryKey): boolean {
    return this.lookUp(key) !== undefined;
  }

  find(key: EntryKey, options: { renew?: boolean } = {}): number | undefined {
    if (options.renew !== true) return this.lookUp(key)?.sizeBytes;
    const sizeBytes = this.shardOf(key).index.use(key.words, key.space, key.sizeBytes, leaseSeconds(this.parts.clock));
    return sizeBytes === -1 ? undefined : sizeBytes;
  }

  get(key: EntryKey, range: ByteRange = WHOLE): Promise<EntryContent | undefined> | EntryContent | undefined {
    const found = this.lookUp(key);
    if (found === undefined) return undefined;
    const payload = this.parts.hotRecords.get(this.shardIndexOf(key), found) ?? this.readPromptly(key, found);
    if (payload === undefined) return this.open(key, range);
    const length = rangeLength(found.sizeBytes, range);
    this.touch(key, found);
    return new MemoryContent(found.sizeBytes, partOf(payload, range.offset, length));
  }

  /** A small value that is known to be good and expected in the page cache. */
  private readPromptly(key: EntryKey, found: FoundEntry): Buffer | undefined {
    const { promptReads, readers, hotRecords } = this.parts;
    const { storedBytes, segmentId, offset } = found;
    if (!found.verified || storedBytes > hotRecords.payloadBytesMax || !promptReads.arePrompt) return undefined;
    const pinned = readers.pinOpen(segmentId);
    if (pinned === undefined) return undefined;
    const payload = Buffer.allocUnsafe(storedBytes);
    try {
      // What is wrong with it, if anything, is found out by the long way.
      if (promptReads.read(pinned.fd, payload, offset + RECORD_HEADER_BYTES) < storedBytes) return undefined;
    } catch {
      return undefined;
    } finally {
      pinned.unpin();
    }
    hotRecords.add(this.shardIndexOf(key), found, payload);
    return payload;
  }

  private async open(key: EntryKey, range: ByteRange): Promise<EntryContent | undefined> {
    for (let attempt = 0; attempt < LOOKUP_ATTEMPTS; attempt += 1) {
      // The one that the entry is found in: a shard that is started again meanwhile has another.
      const { index } = this.shardOf(key);
      const found = this.lookUp(key);
      if (found === undefined) return undefined;
      const length = rangeLength(found.sizeBytes, range);
      let pinned: PinnedSegment;
      try {
        pinned = await this.parts.readers.pin(found.segmentId);
      } catch (error) {
        // Retired between the look-up and the open: the entry is gone by now, or points to the copy.
        if (isPassing(error))
          throw new CacheError("resource_exhausted", "no file descriptor is free", { retryAfterMs: 1000 });
        if (attempt === LOOKUP_ATTEMPTS - 1) this.quarantine(key, found);
        continue;
      }
      this.touch(key, found);
      const content = this.contentOf(key, index, found, pinned, range.offset, length);
      if (found.verified || (await content.check(keyBytes(key.words)).catch(() => false))) {
        return found.storedBytes > this.parts.hotRecords.payloadBytesMax || length < found.sizeBytes
          ? content
          : this.warmUp(key, found, content);
      }
      content.close();
      this.quarantine(key, found);
      return undefined;
    }
    return undefined;
  }

  /** Reads a small value at once, and keeps it. @returns undefined where it turns out to be damaged. */
  private async warmUp(key: EntryKey, found: FoundEntry, content: RecordContent): Promise<EntryContent | undefined> {
    let payload: Buffer;
    try {
      payload = await content.bytes();
    } catch {
      return undefined;
    }
    this.parts.hotRecords.add(this.shardIndexOf(key), found, payload);
    return new MemoryContent(found.sizeBytes, payload);
  }

  stage(key: EntryKey, options: StageOptions = {}): Promise<StagedEntry> | StagedEntry {
    const sizeBytes = key.sizeBytes ?? options.sizeBytes;
    this.assertStorable(key, sizeBytes);
    return StagedUpload.start(this.parts.staging, this.shardOf(key), key, sizeBytes, options.signal);
  }

  async put(key: EntryKey, bytes: Uint8Array): Promise<void> {
    this.assertStorable(key, bytes.byteLength);
    const upload = await this.stage(key, { sizeBytes: bytes.byteLength });
    try {
      await upload.write(bytes);
    } catch (error) {
      await upload.discard();
      throw error;
    }
    await upload.commit();
  }

  async putAll(puts: readonly EntryPut[]): Promise<unknown[]> {
    const failures: unknown[] = puts.map(() => undefined);
    const positionsOfShard = this.parts.shards.map((): number[] => []);
    for (const [position, { key, bytes }] of puts.entries()) {
      try {
        this.assertStorable(key, bytes.byteLength);
        positionsOfShard[shardOfKey(key.words, positionsOfShard.length)]!.push(position);
      } catch (error) {
        failures[position] = error;
      }
    }
    const puttingTogether = positionsOfShard.map(async (positions, shardIndex) => {
      const together = positions.map((position) => puts[position]!);
      const outcomes = await this.putTogether(this.shardAt(shardIndex), together);
      for (const [i, position] of positions.entries()) failures[position] = outcomes[i];
    });
    await Promise.all(puttingTogether);
    return failures;
  }

  private async putTogether(shard: SupervisedShard, puts: readonly EntryPut[]): Promise<unknown[]> {
    if (puts.length === 0) return [];
    const batch = StagedBatch.tryStage(this.parts.staging, shard, puts);
    if (batch !== undefined) return batch.commit();
    // One by one they find room, or wait for it.
    const settled = await Promise.allSettled(puts.map(({ key, bytes }) => this.put(key, bytes)));
    return settled.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
  }

  stats(): EngineStats {
    const { shards, ledger, staging, hotRecords } = this.parts;
    const snapshots = shards.map((shard) => ({
      ...shard.stats.snapshot(),
      entries: shard.index.liveCount,
      callsInFlight: shard.callsInFlight,
    }));
    const total = (name: ShardStatName): number =>
      name === "oldestSegmentId" || name === "oldestSegmentCreatedAtMs"
        ? snapshots.reduce((oldest, shard) => (oldest === 0 ? shard[name] : Math.min(oldest, shard[name] || oldest)), 0)
        : snapshots.reduce((sum, shard) => sum + shard[name], 0);
    return {
      entries: snapshots.reduce((sum, shard) => sum + shard.entries, 0),
      bytesUsed: ledger.bytesUsed,
      bytesMax: ledger.bytesMax,
      stagingMemoryBytes: staging.slab.bytesInUse,
      stagingFileBytes: staging.fileBudget.bytesUsed,
      hotRecordBytes: hotRecords.bytes,
      shardCount: shards.length,
      expectedLifetimeSeconds: this.expectedLifetimeSeconds() ?? 0,
      quarantined: [...this.quarantined],
      totals: Object.fromEntries(SHARD_STATS.map((name) => [name, total(name)])) as ShardStatsSnapshot,
      shards: snapshots,
    };
  }

  /** Seals and syncs every shard, ends the workers, lets go of the directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.housekeeping[Symbol.dispose]();
    const { shards, retirement, readers, lock, options } = this.parts;
    await retirement.stop();
    await Promise.all(
      shards.map(async (shard, shardIndex) => {
        try {
          await shard.call("close", {});
        } catch (error) {
          // Recovery at the next start does what sealing would have saved it.
          options.logger.error({ error, shardIndex }, "shard did not close cleanly");
        }
        await shard.terminate();
      }),
    );
    readers.closeAll();
    lock[Symbol.dispose]();
  }

  private lookUp(key: EntryKey): FoundEntry | undefined {
    const found = this.shardOf(key).index.find(key.words, key.space);
    // The size is part of a content-addressed key (H19).
    return found !== undefined && key.sizeBytes !== undefined && found.sizeBytes !== key.sizeBytes ? undefined : found;
  }

  private touch(key: EntryKey, found: FoundEntry): void {
    this.shardOf(key).index.touch(found.entryNumber, leaseSeconds(this.parts.clock));
  }

  private contentOf(
    key: EntryKey,
    index: IndexReader,
    found: FoundEntry,
    pinned: PinnedSegment,
    offset: number,
    length: number,
  ): RecordContent {
    return new RecordContent({
      fileSystem: this.parts.fileSystem,
      promptReads: this.parts.promptReads,
      chunkBuffers: this.chunkBuffers,
      pinned,
      location: found,
      offset,
      length,
      verified: found.verified,
      onVerified: () => index.markVerified(found.entryNumber),
      onCorrupt: () => this.quarantine(key, found),
    });
  }

  private quarantine(key: EntryKey, { entryNumber, segmentId, offset }: FoundEntry): void {
    this.parts.hotRecords.drop(this.shardIndexOf(key), entryNumber);
    const record = { space: key.space, key: keyBytes(key.words), segmentId, offset };
    this.noteQuarantine(record);
    this.shardOf(key)
      .call("quarantine", record)
      .catch((error: unknown) => this.parts.options.logger.error({ err: error }, "quarantine failed"));
  }

  private noteQuarantine({ space, key, segmentId, offset }: QuarantinedRecord): void {
    const { options, clock } = this.parts;
    const at = new Date(clock.wallMs()).toISOString();
    const report = { space, key: Buffer.from(key).toString("hex"), segmentId, offset, at };
    options.logger.error(report, "record failed its checksum: quarantined");
    this.quarantined.push(report);
    if (this.quarantined.length > QUARANTINE_REPORTS_MAX) this.quarantined.shift();
  }

  /**
   * How long an entry that is written now will live if nobody uses it: the age of the oldest segment, stretched by
   * the share of the budget that is still free.
   */
  private expectedLifetimeSeconds(): number | undefined {
    const { shards, sizes, ledger, clock } = this.parts;
    const ages = shards
      .map(({ stats }) => stats.get("oldestSegmentCreatedAtMs"))
      .filter((createdAtMs) => createdAtMs > 0)
      .map((createdAtMs) => Math.max(0, clock.wallMs() - createdAtMs) / 1000);
    if (ages.length === 0 || ledger.bytesUsed === 0) return undefined;
    return Math.max(...ages) * Math.max(1, sizes.retireAboveBytes / ledger.bytesUsed);
  }

  private shardOf(key: EntryKey): SupervisedShard {
    return this.shardAt(this.shardIndexOf(key));
  }

  private shardIndexOf(key: EntryKey): number {
    return shardOfKey(key.words, this.parts.shards.length);
  }

  private shardAt(shardIndex: number): SupervisedShard {
    const shard = this.parts.shards[shardIndex];
    if (shard === undefined)
      throw new RangeError(`shard: expected below ${this.parts.shards.length}, got ${shardIndex}`);
    return shard;
  }

  /** @param sizeBytes of the value, where it is known. */
  private assertStorable(key: EntryKey, sizeBytes: number | undefined): void {
    this.assertWritable();
    if (sizeBytes === undefined) return;
    if (key.sizeBytes !== undefined && key.sizeBytes !== sizeBytes) {
      throw new CacheError("invalid_argument", `size: expected ${key.sizeBytes} bytes, got ${sizeBytes}`);
    }
    if (sizeBytes > this.entryBytesMax) {
      throw new CacheError("invalid_argument", `size: expected at most ${this.entryBytesMax} bytes, got ${sizeBytes}`);
    }
  }

  private assertWritable(): void {
    if (this.closed) throw new CacheError("unavailable", "the cache is shutting down");
    const reason = this.readOnlyReason;
    if (reason !== undefined) throw new CacheError("unavailable", `the cache is read-only: ${reason}`);
  }
}

function partOf(payload: Buffer, offset: number, length: number): Buffer {
  return length === payload.length ? payload : payload.subarray(offset, offset + length);
}

/** Bytes that a range gives of a value. @throws {CacheError} out_of_range */
function rangeLength(sizeBytes: number, range: ByteRange): number {
  if (!Number.isSafeInteger(range.offset) || range.offset < 0 || range.offset > sizeBytes) {
    throw new CacheError("out_of_range", `read_offset: expected 0 to ${sizeBytes}, got ${range.offset}`);
  }
  return Math.min(range.limit ?? Number.POSITIVE_INFINITY, sizeBytes - range.offset);
}
