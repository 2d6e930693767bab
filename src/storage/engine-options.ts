import { availableParallelism, totalmem } from "node:os";
import type { AtRest } from "../cache/encoding.ts";
import type { Clock } from "../clock.ts";
import type { Timers } from "../timers.ts";
import type { FileSystem } from "./file-system.ts";
import type { StartShard } from "./shard/shard-client.ts";
import { ENTRIES_PER_SHARD_MAX, ENTRY_BYTES, SIZE_BYTES_MAX } from "./index/index-layout.ts";

export interface EngineLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface EngineOptions {
  readonly directory: string;
  /** Bytes on disk in all, staging included. */
  readonly maxBytes: number;
  readonly shardCount?: number;
  /** Threads that accept connections, the main one included; default 1. */
  readonly listenerCount?: number;
  readonly durability: "commit" | "relaxed";
  /** How blobs lie on disk; default as they were uploaded. */
  readonly atRest?: AtRest;
  readonly stagingMemoryBytes?: number;
  readonly stagingDiskBytes?: number;
  /** Memory for small entries that were read lately; 0: none are kept. */
  readonly hotRecordBytesMax?: number;
  readonly minLeaseMs?: number;
  /** Keeps accounts by instance, and what those who have little have; default no. See owners/fair-share.ts. */
  readonly fairShare?: boolean;
  /** With `fairShare`: what an instance may have at the most; undefined: whatever finds room. */
  readonly quotaOf?: (instanceName: string) => number | undefined;
  readonly segmentBytesMax?: number;
  /** How long an upload waits for room before it is refused. */
  readonly admissionWaitMs?: number;
  readonly logger: EngineLogger;
  readonly clock?: Clock;
  /** Of uploads that wait for room. */
  readonly timers?: Timers;
  readonly fileSystem?: FileSystem;
  /** Default: a worker thread each. */
  readonly startShard?: StartShard;
  /** Default: that of the system, see readBootId. */
  readonly boot?: Uint8Array;
  /** Default: a lock on a file, which only a real directory can hold. */
  readonly lock?: (directory: string) => Disposable;
  /** Descriptors that may stay open for reading segments in all (HAZARDS H9); default 256. */
  readonly openSegmentsMax?: number;
  /** Entries that the index has room for; default by size of the store and the machine's memory. */
  readonly entryCountMax?: number;
  /** How often the index is saved while there is something new in it; 0: only at close. */
  readonly checkpointIntervalMs?: number;
  /** Bytes a second that the scrub reads in all; 0: no scrub. */
  readonly scrubBytesPerSecond?: number;
  /** Larger uploads are staged in a temp file. */
  readonly slabUploadBytesMax?: number;
  /** From this size on a temp file is adopted instead of copied. */
  readonly adoptBytesMin?: number;
  /** Smaller budgets than this are refused. */
  readonly maxBytesMin?: number;
}

/** What the engine works with once every default is filled in. */
export interface EngineSizes {
  readonly shardCount: number;
  readonly listenerCount: number;
  readonly segmentBytesMax: number;
  /** Never given to uploads: what retirement may copy before it unlinks. */
  readonly keepFreeBytes: number;
  /** Retirement starts above this. */
  readonly retireAboveBytes: number;
  readonly stagingMemoryBytes: number;
  readonly stagingDiskBytes: number;
  /** Of each listener's thread. */
  readonly hotRecordBytesMax: number;
  /** Of each listener's thread: memory that is kept for the next reads. */
  readonly freeChunkBytesMax: number;
  /** Larger uploads are staged in a temp file at once. */
  readonly slabUploadBytesMax: number;
  readonly adoptBytesMin: number;
  /** Of a temp file that is to be adopted, synced at a time while it grows. */
  readonly earlySyncBytes: number;
  /** Of each of the two write buffers of an upload in a temp file. */
  readonly fileBufferBytes: number;
  /** The largest entry that is taken. */
  readonly entryBytesMax: number;
  readonly entriesPerShardMax: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

const MAX_BYTES_MIN = 32 * MIB;
export const SLAB_BLOCK_BYTES = 32 * KIB;
const SEGMENT_BYTES_MIN = MIB;
const SEGMENT_BYTES_DEFAULT_MAX = 256 * MIB;
const SEGMENTS_PER_SHARD_WANTED = 32;
const STAGING_MEMORY_BYTES = 128 * MIB;
const ADOPT_BYTES_MIN = 8 * MIB;
const SLAB_UPLOAD_BYTES_MIN = MIB;
/** Where staging memory is short, many uploads are in temp files at the same time. */
const FILE_BUFFER_BYTES_MIN = 16 * KIB;
const FILE_BUFFER_BYTES_MAX = 256 * KIB;
const FILE_BUFFERS_WANTED = 512;
/** A quarter of staging memory, within these. */
const FREE_CHUNK_BYTES_MIN = MIB;
const FREE_CHUNK_BYTES_MAX = 16 * MIB;
/** What is not adopted is not written twice, as long as there is memory for it. */
const SLAB_UPLOAD_BYTES_MAX = ADOPT_BYTES_MIN - 1;
/** Build caches hold many small blobs; the index is sized for this mean. */
const ENTRY_BYTES_MEAN_MIN = 4 * KIB;
const ENTRIES_MIN = 1_000_000;

/** @throws {RangeError} where the directory's budget is too small for the shards. */
export function engineSizes(options: EngineOptions): EngineSizes {
  const { maxBytes } = options;
  const shardCount = options.shardCount ?? Math.max(2, availableParallelism());
  const segmentBytesMax =
    options.segmentBytesMax ??
    clamp(
      Math.floor(maxBytes / (shardCount * SEGMENTS_PER_SHARD_WANTED)),
      SEGMENT_BYTES_MIN,
      SEGMENT_BYTES_DEFAULT_MAX,
    );
  // A retirement copies at most one segment, and each shard may be sealing one and starting the next meanwhile.
  const keepFreeBytes = 2 * segmentBytesMax + shardCount * 64 * KIB;
  const retireAboveBytes = maxBytes - keepFreeBytes - shardCount * segmentBytesMax;
  const { maxBytesMin = MAX_BYTES_MIN, stagingMemoryBytes = STAGING_MEMORY_BYTES, listenerCount = 1 } = options;
  const slabUploadBytesMax =
    options.slabUploadBytesMax ??
    clamp(
      Math.min(segmentBytesMax, stagingMemoryBytes / listenerCount / 8),
      SLAB_UPLOAD_BYTES_MIN,
      SLAB_UPLOAD_BYTES_MAX,
    );
  if (maxBytes < maxBytesMin || retireAboveBytes < maxBytes / 4) {
    throw new RangeError(
      `max size: expected at least ${Math.max(maxBytesMin, 6 * shardCount * segmentBytesMax)} bytes for ${shardCount} shards ` +
        `with segments of ${segmentBytesMax} bytes, got ${maxBytes}`,
    );
  }
  const stagingDiskBytes = Math.min(options.stagingDiskBytes ?? Math.floor(maxBytes / 4), retireAboveBytes);
  const indexBytesMax = Math.min(totalmem() / 4, 64 * GIB);
  const entryCountMax =
    options.entryCountMax ?? clamp(maxBytes / ENTRY_BYTES_MEAN_MIN, ENTRIES_MIN, indexBytesMax / (ENTRY_BYTES + 24));
  const adoptBytesMin =
    options.adoptBytesMin ?? Math.min(ADOPT_BYTES_MIN, Math.max(segmentBytesMax, slabUploadBytesMax + 1));
  return {
    shardCount,
    listenerCount,
    segmentBytesMax,
    keepFreeBytes,
    retireAboveBytes,
    stagingMemoryBytes,
    stagingDiskBytes,
    hotRecordBytesMax: Math.floor((options.hotRecordBytesMax ?? 64 * MIB) / listenerCount),
    freeChunkBytesMax: clamp(stagingMemoryBytes / listenerCount / 4, FREE_CHUNK_BYTES_MIN, FREE_CHUNK_BYTES_MAX),
    slabUploadBytesMax,
    adoptBytesMin,
    earlySyncBytes: Math.ceil(adoptBytesMin / 2),
    fileBufferBytes: clamp(
      stagingMemoryBytes / listenerCount / FILE_BUFFERS_WANTED,
      FILE_BUFFER_BYTES_MIN,
      FILE_BUFFER_BYTES_MAX,
    ),
    entryBytesMax: Math.min(stagingDiskBytes, Math.floor(retireAboveBytes / 2), SIZE_BYTES_MAX),
    entriesPerShardMax: Math.min(ENTRIES_PER_SHARD_MAX, Math.floor(entryCountMax / shardCount)),
  };
}

function clamp(value: number, min: number, max: number): number {
  return Math.floor(Math.min(Math.max(value, min), max));
}
