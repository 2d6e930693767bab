import type { EntryOwner, OwnerRegister } from "../cache/entry-owner.ts";
import type { EngineOptions } from "./engine-options.ts";
import type { DiskLedger } from "./disk-ledger.ts";
import { Housekeeping } from "./housekeeping.ts";
import { ListenerLink } from "./listener/listener-link.ts";
import type { ListenerStoreData } from "./listener/listener-protocol.ts";
import { openEngine } from "./open-engine.ts";
import { NumberedOwner } from "./owners/numbered-owner.ts";
import type { Account, Owners } from "./owners/owners.ts";
import type { Quotas } from "./owners/quotas.ts";
import type { Retirement } from "./retirement.ts";
import type { QuarantinedRecord } from "./shard/shard-protocol.ts";
import {
  type HistogramSnapshot,
  SHARD_STATS,
  type ShardHistogramName,
  type ShardStatName,
  type ShardStatsSnapshot,
} from "./shard/shard-stats.ts";
import type { SupervisedShard } from "./shard/supervised-shard.ts";
import { ShardedEntryStore, type StoreParts } from "./sharded-entry-store.ts";
import type { LeftUploads } from "./staging/left-uploads.ts";

/** The parts that `openEngine` puts together. */
export interface EngineParts extends StoreParts {
  readonly options: EngineOptions;
  readonly lock: Disposable;
  readonly ledger: DiskLedger;
  readonly shards: readonly SupervisedShard[];
  readonly retirement: Retirement;
  readonly leftUploads: LeftUploads;
  /** Undefined where no accounts are kept. */
  readonly owners: Owners | undefined;
  readonly quotas: Quotas | undefined;
  /** Descriptors for reading segments that each listener may keep open. */
  readonly openSegmentsMax: number;
  /** Told of segments whose files are gone. */
  readonly segmentFollowers: Set<SegmentFollower>;
}

export type SegmentFollower = (segmentIds: readonly number[]) => void;

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
  readonly stagingMemoryBytesMax: number;
  readonly stagingFileBytes: number;
  readonly stagingFileBytesMax: number;
  /** Uploads that wait for room on disk, or for room to stage in. */
  readonly uploadsWaiting: number;
  /** Uploads that an earlier process or an ended thread has left, to be gone on with. */
  readonly leftUploads: number;
  readonly hotRecordBytes: number;
  readonly shardCount: number;
  /** How long an entry written now is expected to live; 0 while there is nothing to go by. */
  readonly expectedLifetimeSeconds: number;
  /** What was written before has been retired, but for what was in use; 0 while nothing is stored. */
  readonly oldestSegmentAgeSeconds: number;
  /** The latest records that failed their checksum. */
  readonly quarantined: readonly QuarantineReport[];
  /** Sums over the shards; of what has no sum, the oldest. */
  readonly totals: ShardStatsSnapshot;
  readonly shards: readonly (ShardStatsSnapshot & { entries: number; callsInFlight: number })[];
}

/**
 * The engine as a whole: the store of the main thread, with everything that there is once a process. It locks the
 * directory, starts and supervises the shard workers, makes room, keeps house, and serves the stores of other threads.
 */
export class StorageEngine extends ShardedEntryStore implements OwnerRegister, AsyncDisposable {
  declare protected readonly parts: EngineParts;
  private readonly housekeeping: Housekeeping;
  private readonly quarantined: QuarantineReport[] = [];
  private readonly links = new Map<number, ListenerLink>();

  private constructor(parts: EngineParts) {
    super(parts);
    this.housekeeping = new Housekeeping({
      options: parts.options,
      shards: parts.shards,
      onCorrupt: (record) => this.noteQuarantine(record),
      owners: parts.owners,
      quotas: parts.quotas,
      expectedLifetimeSeconds: () => this.expectedLifetimeSeconds(),
    });
  }

  /** Locks the directory, recovers what is in it and starts the shard workers. */
  static async open(options: EngineOptions): Promise<StorageEngine> {
    return new StorageEngine(await openEngine(options));
  }

  /** Uploads whose process or thread has ended. */
  get leftUploads(): LeftUploads {
    return this.parts.leftUploads;
  }

  /** Makes room for a listener thread beside this one. @returns what its store is opened with. */
  attachListener(listenerIndex: number): ListenerStoreData {
    const link = new ListenerLink(this.parts, listenerIndex, (record) => this.noteQuarantine(record));
    this.links.set(listenerIndex, link);
    return link.data;
  }

  /** The thread is gone: resolves once nothing is left of it, and another may take its place. */
  async listenerEnded(listenerIndex: number): Promise<void> {
    await this.links.get(listenerIndex)?.ended();
    this.links.delete(listenerIndex);
  }

  async ownerOf(instanceName: string, isNew: boolean): Promise<EntryOwner | undefined> {
    const { owners, quotas, shards } = this.parts;
    const entry = owners?.find(instanceName, isNew);
    if (owners === undefined || quotas === undefined || entry === undefined) return undefined;
    const { marks } = owners;
    return new NumberedOwner(entry, { marks, shards, makeRoom: (bytes) => quotas.makeRoom(entry.owner, bytes) });
  }

  /** What is stored for whom; nothing where no accounts are kept. */
  accounts(): Account[] {
    return [...(this.parts.owners?.accounts() ?? [])];
  }

  /** Resolves once every shard worker has answered. @throws {CacheError} unavailable where one is not running. */
  async heartbeat(): Promise<void> {
    await Promise.all(this.parts.shards.map((shard) => shard.call("heartbeat", {})));
  }

  stats(): EngineStats {
    const { shards, ledger, staging, leftUploads, hotRecords, sizes } = this.parts;
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
      stagingMemoryBytesMax: sizes.stagingMemoryBytes,
      stagingFileBytes: staging.fileBudget.bytesUsed,
      stagingFileBytesMax: staging.fileBudget.bytesMax,
      uploadsWaiting: ledger.waiterCount + staging.fileBudget.waiterCount,
      leftUploads: leftUploads.count,
      hotRecordBytes: hotRecords.bytes,
      shardCount: shards.length,
      expectedLifetimeSeconds: this.expectedLifetimeSeconds() ?? 0,
      oldestSegmentAgeSeconds: Math.max(0, ...this.oldestSegmentAgesSeconds()),
      quarantined: [...this.quarantined],
      totals: Object.fromEntries(SHARD_STATS.map((name) => [name, total(name)])) as ShardStatsSnapshot,
      shards: snapshots,
    };
  }

  /** Of each shard, in their order. */
  histograms(): Record<ShardHistogramName, readonly HistogramSnapshot[]> {
    const ofShards = (name: ShardHistogramName) => this.parts.shards.map(({ stats }) => stats.histogram(name));
    return { syncDurationSeconds: ofShards("syncDurationSeconds"), groupPuts: ofShards("groupPuts") };
  }

  /** Seals and syncs every shard, ends the workers, lets go of the directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.housekeeping[Symbol.dispose]();
    const { shards, retirement, leftUploads, owners, readers, lock, logger } = this.parts;
    leftUploads[Symbol.dispose]();
    await retirement.stop();
    owners?.save();
    await Promise.all(
      shards.map(async (shard, shardIndex) => {
        try {
          await shard.call("close", {});
        } catch (error) {
          // Recovery at the next start does what sealing would have saved it.
          logger.error({ error, shardIndex }, "shard did not close cleanly");
        }
        await shard.terminate();
      }),
    );
    readers.closeAll();
    lock[Symbol.dispose]();
  }

  protected override noteQuarantine({ space, key, segmentId, offset }: QuarantinedRecord): void {
    const { logger, clock } = this.parts;
    const at = new Date(clock.wallMs()).toISOString();
    const report = { space, key: Buffer.from(key).toString("hex"), segmentId, offset, at };
    logger.error(report, "record failed its checksum: quarantined");
    this.quarantined.push(report);
    if (this.quarantined.length > QUARANTINE_REPORTS_MAX) this.quarantined.shift();
  }

  /**
   * How long an entry that is written now will live if nobody uses it: the age of the oldest segment, stretched by
   * the share of the budget that is still free.
   */
  private expectedLifetimeSeconds(): number | undefined {
    const { sizes, ledger } = this.parts;
    const ages = this.oldestSegmentAgesSeconds();
    if (ages.length === 0 || ledger.bytesUsed === 0) return undefined;
    return Math.max(...ages) * Math.max(1, sizes.retireAboveBytes / ledger.bytesUsed);
  }

  /** Of the shards that have a segment. */
  private oldestSegmentAgesSeconds(): number[] {
    const { shards, clock } = this.parts;
    return shards
      .map(({ stats }) => stats.get("oldestSegmentCreatedAtMs"))
      .filter((createdAtMs) => createdAtMs > 0)
      .map((createdAtMs) => Math.max(0, clock.wallMs() - createdAtMs) / 1000);
  }
}
