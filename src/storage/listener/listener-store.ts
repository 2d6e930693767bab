import type { EntryOwner, OwnerRegister } from "../../cache/entry-owner.ts";
import { type Clock, systemClock } from "../../clock.ts";
import { ThreadCalls } from "../../thread-calls.ts";
import { CacheError } from "../../cache/cache-error.ts";
import { DiskLedger } from "../disk-ledger.ts";
import { readBootId } from "../boot-id.ts";
import { type EngineLogger, SLAB_BLOCK_BYTES } from "../engine-options.ts";
import { type FileSystem, nodeFileSystem } from "../file-system.ts";
import { HotRecords } from "../hot-records.ts";
import { NumberedOwner } from "../owners/numbered-owner.ts";
import { UseMarks } from "../owners/use-marks.ts";
import { PromptReads } from "../segment/prompt-reads.ts";
import { SegmentReaders } from "../segment/segment-readers.ts";
import { FollowedShard } from "../shard/followed-shard.ts";
import type { QuarantinedRecord } from "../shard/shard-protocol.ts";
import { ShardStats } from "../shard/shard-stats.ts";
import { ShardedEntryStore, type StoreParts } from "../sharded-entry-store.ts";
import { EarlySyncs } from "../staging/early-syncs.ts";
import type { StagingContext } from "../staging/staged-upload.ts";
import { stagingPaths } from "../staging/staging-paths.ts";
import { StagingSlab } from "../staging/staging-slab.ts";
import { ENTRIES_FULL_SHARE } from "../retirement.ts";
import { StorePaths } from "../store-paths.ts";
import { ListenerAdmission } from "./listener-admission.ts";
import type { AdmissionName, EngineMethods, ListenerStoreData, ListenerStoreMethods } from "./listener-protocol.ts";

type EngineCalls = ThreadCalls<EngineMethods, ListenerStoreMethods>;

export interface ListenerStoreSeams {
  readonly logger: EngineLogger;
  readonly clock?: Clock;
  readonly fileSystem?: FileSystem;
}

/**
 * The store of a listener thread: reads the shared index and the segments itself, stages in its own share of the slab,
 * and hands uploads to the shard workers by ports of its own. The main thread is asked where uploads must wait for
 * room, and tells of shards that were started again and of segments that are gone.
 */
export class ListenerStore extends ShardedEntryStore implements OwnerRegister, Disposable {
  private readonly calls: EngineCalls;
  private readonly followed: readonly FollowedShard[];
  private readonly useMarks: UseMarks | undefined;
  private readonly closePort: () => void;

  private constructor(
    parts: StoreParts & { shards: readonly FollowedShard[] },
    calls: EngineCalls,
    useMarks: UseMarks | undefined,
    closePort: () => void,
  ) {
    super(parts);
    this.calls = calls;
    this.followed = parts.shards;
    this.useMarks = useMarks;
    this.closePort = closePort;
  }

  /** Resolves once every shard is known. */
  static async open(data: ListenerStoreData, seams: ListenerStoreSeams): Promise<ListenerStore> {
    const { logger, clock = systemClock, fileSystem = nodeFileSystem } = seams;
    const { segments } = new StorePaths(data.directory);
    const readers = new SegmentReaders(fileSystem, segments, data.openSegmentsMax);
    const shards = data.stats.map((stats, shardIndex) => new FollowedShard(shardIndex, new ShardStats(stats)));
    const hotRecords = new HotRecords(data.sizes.hotRecordBytesMax);
    const calls = answerEngine(data, shards, (segmentId) => {
      readers.retire(segmentId);
      hotRecords.retire(segmentId);
    });
    const staging = listenerStaging(data, fileSystem, shards, calls);
    const promptReads = new PromptReads({ fileSystem });
    const { sizes } = data;
    const parts = { logger, sizes, clock, fileSystem, shards, staging, readers, promptReads, hotRecords };
    const useMarks = data.useMarks === undefined ? undefined : new UseMarks(data.useMarks);
    const store = new ListenerStore(parts, calls, useMarks, () => data.port.close());
    await calls.call("follow", {});
    return store;
  }

  async ownerOf(instanceName: string, isNew: boolean): Promise<EntryOwner | undefined> {
    const { useMarks: marks, followed: shards, calls } = this;
    const { entry } = await calls.call("ownerOf", { instanceName, isNew });
    if (entry === undefined || marks === undefined) return undefined;
    const { owner } = entry;
    const makeRoom = async (bytes: number): Promise<boolean> => (await calls.call("makeRoom", { owner, bytes })).isRoom;
    return new NumberedOwner(entry, { marks, shards, makeRoom });
  }

  /** Bytes of this thread's share of the slab that are in use. */
  get stagingMemoryBytes(): number {
    return this.parts.staging.slab.bytesInUse;
  }

  get hotRecordBytes(): number {
    return this.parts.hotRecords.bytes;
  }

  /** What this thread adds to the figures of each shard. */
  get shardFigures(): readonly { readonly callsInFlight: number }[] {
    return this.followed.map(({ callsInFlight }) => ({ callsInFlight }));
  }

  /** Lets go of every file and of the shards; uploads that are left get `unavailable`. */
  [Symbol.dispose](): void {
    this.closed = true;
    for (const shard of this.followed) shard.close();
    this.parts.readers.closeAll();
    this.closePort();
  }

  protected override noteQuarantine(record: QuarantinedRecord): void {
    this.calls.call("noteQuarantine", record).catch(() => undefined);
  }
}

function answerEngine(
  data: ListenerStoreData,
  shards: readonly FollowedShard[],
  letGoOf: (segmentId: number) => void,
): EngineCalls {
  const shardAt = (shardIndex: number): FollowedShard => {
    const shard = shards[shardIndex];
    if (shard === undefined) throw new RangeError(`shard: expected below ${shards.length}, got ${shardIndex}`);
    return shard;
  };
  const calls: EngineCalls = new ThreadCalls(data.port, {
    replaceIndex({ shardIndex, index }) {
      shardAt(shardIndex).replaceIndex(index);
      return {};
    },
    connectShard({ shardIndex, port }) {
      shardAt(shardIndex).connect(port);
      return {};
    },
    showFault({ shardIndex, reason }) {
      shardAt(shardIndex).showFault(reason);
      return {};
    },
    segmentsRetired({ segmentIds }) {
      for (const segmentId of segmentIds) letGoOf(segmentId);
      return {};
    },
  });
  data.port.on("close", () => calls.end(new CacheError("unavailable", "the cache is shutting down")));
  return calls;
}

function listenerStaging(
  data: ListenerStoreData,
  fileSystem: FileSystem,
  shards: readonly FollowedShard[],
  calls: EngineCalls,
): StagingContext {
  const { sizes, listenerIndex } = data;
  const ledger = new DiskLedger(data.bytesMax, data.ledger, listenerIndex);
  const fileBudget = new DiskLedger(sizes.stagingDiskBytes, data.fileBudget, listenerIndex);
  const tellEngine = coalesced(() => calls.call("diskUseChanged", {}));
  const admissionFor = (of: DiskLedger, admission: AdmissionName, keepFreeBytes: number): ListenerAdmission =>
    new ListenerAdmission(of, {
      keepFreeBytes,
      waitForRoom: (bytes, signal) => calls.call("admit", { admission, bytes }, signal === undefined ? {} : { signal }),
      diskUseChanged: tellEngine,
    });
  const entriesFull = sizes.entriesPerShardMax * ENTRIES_FULL_SHARE;
  return {
    slab: new StagingSlab(sizes.stagingMemoryBytes, SLAB_BLOCK_BYTES, data.slabShare, data.slab),
    fileSystem,
    ledger,
    admission: admissionFor(ledger, "disk", sizes.keepFreeBytes),
    fileBudget,
    fileAdmission: admissionFor(fileBudget, "files", 0),
    slabUploadBytesMax: sizes.slabUploadBytesMax,
    adoptBytesMin: sizes.adoptBytesMin,
    fileBufferBytes: sizes.fileBufferBytes,
    earlySyncs: data.durability === "commit" ? new EarlySyncs(fileSystem, sizes.earlySyncBytes) : undefined,
    entryBytesMax: sizes.entryBytesMax,
    newStagingPath: stagingPaths(new StorePaths(data.directory).staging, listenerIndex),
    boot: readBootId(),
    diskUseChanged() {
      const isTight = ledger.hasWaiters || ledger.bytesUsed > sizes.retireAboveBytes;
      if (isTight || shards.some(({ index }) => index.liveCount > entriesFull)) tellEngine();
    },
  };
}

/** One message is on its way at a time; what is to be told meanwhile is told by one more. */
function coalesced(tell: () => Promise<unknown>): () => void {
  let isTelling = false;
  let isStale = false;
  const run = (): void => {
    isStale = isTelling;
    if (isTelling) return;
    isTelling = true;
    tell()
      .catch(() => undefined)
      .finally(() => {
        isTelling = false;
        if (isStale) run();
      });
  };
  return run;
}
