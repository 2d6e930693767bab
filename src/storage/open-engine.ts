import { dirname, join } from "node:path";
import { CacheError } from "../cache/cache-error.ts";
import { type Clock, systemClock } from "../clock.ts";
import { systemTimers } from "../timers.ts";
import { DirectoryLock } from "./directory-lock.ts";
import { DiskLedger } from "./disk-ledger.ts";
import { type EngineOptions, type EngineSizes, engineSizes, SLAB_BLOCK_BYTES } from "./engine-options.ts";
import { readBootId } from "./boot-id.ts";
import { type FileSystem, nodeFileSystem, removeIfThere, removeQuietly } from "./file-system.ts";
import { HotRecords } from "./hot-records.ts";
import { checkpointFileName } from "./index/index-checkpoint.ts";
import { ownedBytes } from "./owners/numbered-owner.ts";
import { Quotas } from "./owners/quotas.ts";
import { Owners } from "./owners/owners.ts";
import { ENTRIES_FULL_SHARE, Retirement } from "./retirement.ts";
import { segmentIdOfFileName, segmentPath } from "./segment/segment-file.ts";
import { PromptReads } from "./segment/prompt-reads.ts";
import { SegmentReaders } from "./segment/segment-readers.ts";
import { ShardAssignment } from "./shard/shard-assignment.ts";
import { startShardWorker } from "./shard/shard-client.ts";
import type { SegmentSummary } from "./shard/shard-protocol.ts";
import { SupervisedShard } from "./shard/supervised-shard.ts";
import type { EngineParts, SegmentFollower } from "./storage-engine.ts";
import { DiskAdmission } from "./staging/disk-admission.ts";
import { EarlySyncs } from "./staging/early-syncs.ts";
import { findLeftFiles, LeftUploads } from "./staging/left-uploads.ts";
import type { StagingContext } from "./staging/staged-upload.ts";
import { stagingPaths } from "./staging/staging-paths.ts";
import { StagingSlab } from "./staging/staging-slab.ts";
import { StorePaths } from "./store-paths.ts";

/** The main thread's place among the listeners. */
const MAIN_LISTENER = 0;
const SEGMENTS_OPEN_MAX = 256;
const UPLOADS_WAITING_MAX = 4096;
const ADMISSION_WAIT_MS = 20_000;
/** Uploads that an earlier process or an ended thread has left, and that a client may still come back for. */
const LEFT_UPLOADS_MAX = 256;
const LEFT_UPLOAD_MS_MAX = 10 * 60_000;
/** Of what temp files may take. */
const LEFT_UPLOADS_SHARE_MAX = 1 / 4;

/** What is there before the shards are. */
interface Foundation {
  readonly options: EngineOptions;
  readonly sizes: EngineSizes;
  readonly fileSystem: FileSystem;
  readonly paths: StorePaths;
  readonly clock: Clock;
  readonly boot: Uint8Array | undefined;
  readonly ledger: DiskLedger;
  readonly slab: StagingSlab;
  readonly assignment: ShardAssignment;
}

/**
 * Opens a data directory, in this order: lock; empty the staging folder of all that no client can go on with; start one
 * worker a shard, which claims its slot; recover the segment files (each worker a share of them); fill the index; begin
 * to take uploads.
 * @throws {CacheError} failed_precondition where the directory is in use or of another format.
 */
export async function openEngine(options: EngineOptions): Promise<EngineParts> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  const sizes = engineSizes(options);
  const paths = new StorePaths(options.directory);
  makeDirectories(fileSystem, paths);
  const lock = options.lock?.(options.directory) ?? DirectoryLock.acquire(options.directory);
  const shards: SupervisedShard[] = [];
  try {
    const boot = options.boot ?? readBootId();
    const clock = options.clock ?? systemClock;
    const leftFiles = findLeftFiles({ fileSystem, boot }, paths.staging, fileSystem.listDirectory(paths.staging), {
      msMax: LEFT_UPLOAD_MS_MAX,
      nowMs: clock.wallMs(),
    });
    clearForeignCheckpoints(fileSystem, paths.checkpoint, sizes.shardCount);
    const foundation: Foundation = {
      options,
      sizes,
      fileSystem,
      paths,
      clock,
      boot,
      ledger: new DiskLedger(options.maxBytes),
      slab: new StagingSlab(sizes.stagingMemoryBytes, SLAB_BLOCK_BYTES, {
        index: MAIN_LISTENER,
        count: sizes.listenerCount,
      }),
      assignment: new ShardAssignment(sizes.shardCount),
    };
    const foreign: SegmentSummary[] = [];
    startShards(foundation, shards, foreign);
    foreign.push(...(await recoverAndLoad(foundation, shards)));
    const openSegmentsMax = Math.ceil((options.openSegmentsMax ?? SEGMENTS_OPEN_MAX) / sizes.listenerCount);
    const readers = new SegmentReaders(fileSystem, paths.segments, openSegmentsMax);
    const hotRecords = new HotRecords(sizes.hotRecordBytesMax);
    const segmentFollowers = new Set<SegmentFollower>([
      (segmentIds) => {
        for (const segmentId of segmentIds) {
          readers.retire(segmentId);
          hotRecords.retire(segmentId);
        }
      },
    ]);
    const owners = options.fairShare === true ? openOwners(foundation, shards) : undefined;
    const intake = buildIntake(foundation, shards, foreign, segmentFollowers, owners);
    // After recovery: they get what room is left.
    intake.leftUploads.takeIn(leftFiles);
    return {
      ...foundation,
      logger: options.logger,
      lock,
      shards,
      readers,
      promptReads: new PromptReads({ fileSystem }),
      hotRecords,
      owners,
      quotas: owners === undefined ? undefined : new Quotas({ owners, shards, clock, logger: options.logger }),
      openSegmentsMax,
      segmentFollowers,
      ...intake,
    };
  } catch (error) {
    await Promise.all(shards.map((shard) => shard.terminate()));
    lock[Symbol.dispose]();
    throw error;
  }
}

/** Their names are durable before anything in them is acknowledged (H2). */
function makeDirectories(fileSystem: FileSystem, paths: StorePaths): void {
  for (const path of [paths.root, paths.segments, paths.checkpoint, paths.staging]) fileSystem.makeDirectory(path);
  fileSystem.syncDirectory(paths.root);
  try {
    fileSystem.syncDirectory(dirname(paths.root));
  } catch {
    // A parent that this process may not read was there before it came.
  }
}

/** @param foreign Filled after recovery and emptied by retirement: shards that restart look at what is left of it. */
function startShards(foundation: Foundation, shards: SupervisedShard[], foreign: readonly SegmentSummary[]): void {
  const { options, sizes, fileSystem, paths, ledger, slab, assignment } = foundation;
  for (let shardIndex = 0; shardIndex < sizes.shardCount; shardIndex += 1) {
    const shard = new SupervisedShard({
      data: {
        shardIndex,
        shardCount: sizes.shardCount,
        directory: options.directory,
        durability: options.durability,
        atRest: options.atRest ?? "as-uploaded",
        keepFreeBytes: sizes.keepFreeBytes,
        segmentBytesMax: sizes.segmentBytesMax,
        minLeaseMs: options.minLeaseMs ?? 0,
        bytesMax: options.maxBytes,
        slabBlockBytes: SLAB_BLOCK_BYTES,
        ledger: ledger.buffer,
        slab: slab.buffer,
        assignment: assignment.buffer,
      },
      entryCountMax: sizes.entriesPerShardMax,
      startShard: options.startShard ?? startShardWorker,
      assignment,
      ledger,
      logger: options.logger,
      listSegmentIds: () => listSegments(fileSystem, paths.segments).segmentIds,
      foreignSegments: () => foreign,
    });
    shards.push(shard);
  }
}

/** @returns the segments that were written under another shard count, oldest first. */
async function recoverAndLoad(foundation: Foundation, shards: readonly SupervisedShard[]): Promise<SegmentSummary[]> {
  const { options, fileSystem, paths, assignment, ledger } = foundation;
  const { segmentIds, foreignNames } = listSegments(fileSystem, paths.segments);
  for (const name of foreignNames) options.logger.warn({ name }, "foreign file in the segments folder: left alone");
  assignment.setNextSegmentId(segmentIds.reduce((max, id) => Math.max(max, id), 0) + 1);
  const recovered = await Promise.all(
    shards.map((shard, shardIndex) => {
      const share = segmentIds.filter((id) => id % shards.length === shardIndex);
      return shard.call("recover", { segmentIds: share, ownOnly: false });
    }),
  ).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CacheError("failed_precondition", `${options.directory} cannot be opened: ${reason}`, { cause });
  });
  const segments = recovered.flatMap((result) => result.segments).toSorted((a, b) => a.segmentId - b.segmentId);
  const firstSequence = segments.reduce((max, segment) => Math.max(max, segment.maxSequence), 0) + 1;
  for (const { accountedBytes } of segments) ledger.charge(accountedBytes);
  const isOwn = ({ shardCount }: SegmentSummary): boolean => shardCount === shards.length;
  const foreign = segments.filter((segment) => !isOwn(segment));
  const loaded = await Promise.all(
    shards.map((shard, shardIndex) => {
      const own = segments.filter((segment) => isOwn(segment) && segment.shardIndex === shardIndex);
      return shard.call("load", { own, foreign, firstSequence });
    }),
  );
  for (const { warnings } of [...recovered, ...loaded])
    for (const warning of warnings) options.logger.warn({}, warning);
  const entries = loaded.reduce((sum, result) => sum + result.entries, 0);
  const fromCheckpoint = loaded.reduce((sum, result) => sum + result.fromCheckpoint, 0);
  options.logger.info({ segments: segments.length, entries, fromCheckpoint }, "storage opened");
  return foreign;
}

/** Whose accounts there are, now that what is on them is loaded. */
function openOwners(
  { options, sizes, fileSystem, paths, clock, ledger }: Foundation,
  shards: SupervisedShard[],
): Owners {
  return new Owners({
    fileSystem,
    path: paths.instances,
    ledger,
    clock,
    logger: options.logger,
    budgetBytes: sizes.retireAboveBytes,
    bytesOf: (owner) => ownedBytes(shards, owner),
    quotaOf: (name) => options.quotaOf?.(name),
  });
}

/** What uploads pass through: staging, admission to the disk, and the retirement that makes room. */
function buildIntake(
  { options, sizes, fileSystem, paths, clock, boot, ledger, slab }: Foundation,
  shards: readonly SupervisedShard[],
  foreign: SegmentSummary[],
  segmentFollowers: ReadonlySet<SegmentFollower>,
  owners: Owners | undefined,
): { staging: StagingContext; retirement: Retirement; leftUploads: LeftUploads } {
  const { timers = systemTimers, admissionWaitMs = ADMISSION_WAIT_MS } = options;
  const waiting = { waitersMax: UPLOADS_WAITING_MAX, waitMs: admissionWaitMs, timers };
  const admission = new DiskAdmission(ledger, {
    ...waiting,
    keepFreeBytes: sizes.keepFreeBytes,
    wantRoom: () => retirement.check(),
  });
  const fileBudget = new DiskLedger(sizes.stagingDiskBytes);
  const fileAdmission = new DiskAdmission(fileBudget, { ...waiting, keepFreeBytes: 0, wantRoom: () => undefined });
  const retirement = new Retirement({
    ledger,
    shards: shards.map((shard) => ({
      client: shard,
      stats: shard.stats,
      deathCount: () => shard.deathCount,
      needsEntries: () => shard.index.liveCount > sizes.entriesPerShardMax * ENTRIES_FULL_SHARE,
    })),
    bytesTarget: () => Math.min(sizes.retireAboveBytes, options.maxBytes - sizes.keepFreeBytes - admission.bytesWanted),
    foreign,
    favouredOwners: () => owners?.favoured() ?? [],
    removeForeign({ segmentId, accountedBytes }) {
      removeIfThere(fileSystem, segmentPath(paths.segments, segmentId));
      ledger.release(accountedBytes);
    },
    onRetired(segmentIds) {
      for (const tellRetired of segmentFollowers) tellRetired(segmentIds);
      admission.roomWasMade();
    },
    onError: (error) => options.logger.error({ err: error }, "retirement failed"),
  });
  const staging: StagingContext = {
    slab,
    fileSystem,
    ledger,
    admission,
    fileBudget,
    fileAdmission,
    slabUploadBytesMax: sizes.slabUploadBytesMax,
    adoptBytesMin: sizes.adoptBytesMin,
    fileBufferBytes: sizes.fileBufferBytes,
    earlySyncs: options.durability === "commit" ? new EarlySyncs(fileSystem, sizes.earlySyncBytes) : undefined,
    entryBytesMax: sizes.entryBytesMax,
    newStagingPath: stagingPaths(paths.staging, MAIN_LISTENER),
    boot,
    diskUseChanged() {
      admission.roomWasMade();
      retirement.check();
    },
  };
  const leftUploads = new LeftUploads({
    staging,
    directory: paths.staging,
    keepFreeBytes: sizes.keepFreeBytes,
    countMax: LEFT_UPLOADS_MAX,
    bytesMax: sizes.stagingDiskBytes * LEFT_UPLOADS_SHARE_MAX,
    msMax: LEFT_UPLOAD_MS_MAX,
    clock,
    timers,
  });
  return { staging, retirement, leftUploads };
}

function listSegments(fileSystem: FileSystem, directory: string): { segmentIds: number[]; foreignNames: string[] } {
  const segmentIds: number[] = [];
  const foreignNames: string[] = [];
  for (const name of fileSystem.listDirectory(directory)) {
    const segmentId = segmentIdOfFileName(name);
    if (segmentId === undefined) foreignNames.push(name);
    else segmentIds.push(segmentId);
  }
  return { segmentIds, foreignNames };
}

/** Checkpoints that a crash left half written, or that no shard of this run would read. */
function clearForeignCheckpoints(fileSystem: FileSystem, directory: string, shardCount: number): void {
  const wanted = new Set(Array.from({ length: shardCount }, (_, shardIndex) => checkpointFileName(shardIndex)));
  for (const name of fileSystem.listDirectory(directory)) {
    if (!wanted.has(name)) removeQuietly(fileSystem, join(directory, name));
  }
}
