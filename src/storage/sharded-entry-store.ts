import { keyBytes } from "../cache/key-words.ts";
import { CacheError } from "../cache/cache-error.ts";
import { type Encoding, encodingNumbered, ENCODINGS } from "../cache/encoding.ts";
import { type EntryKey, isContentAddressed } from "../cache/entry-key.ts";
import type {
  ByteRange,
  DetachedEntry,
  EntryContent,
  EntryPut,
  EntryStore,
  StagedEntry,
  StageOptions,
} from "../cache/entry-store.ts";
import { decodeZstd } from "../cache/zstd/zstd-decoder.ts";
import { DecodedContent, undecodable } from "../cache/zstd/zstd-streams.ts";
import type { Clock } from "../clock.ts";
import type { EngineLogger, EngineSizes } from "./engine-options.ts";
import { type FileSystem, isPassing } from "./file-system.ts";
import { shardOfKey } from "./index/index-layout.ts";
import type { FoundEntry, IndexReader } from "./index/index-reader.ts";
import { type HotRecords, memoryForPayload } from "./hot-records.ts";
import { leaseSeconds } from "./lease-clock.ts";
import { ChunkBuffers, type LentChunk, ownPiece } from "./segment/chunk-buffers.ts";
import { ChunkReads } from "./segment/chunk-reads.ts";
import { MemoryContent } from "./segment/memory-content.ts";
import { type Neighbour, NEIGHBOUR_BYTES_MAX, readNeighbours } from "./neighbour-reads.ts";
import type { PromptReads } from "./segment/prompt-reads.ts";
import { RecordContent } from "./segment/record-content.ts";
import { RECORD_HEADER_BYTES } from "./segment/segment-format.ts";
import type { PinnedSegment, SegmentReaders } from "./segment/segment-readers.ts";
import type { ShardAccess } from "./shard/shard-client.ts";
import type { QuarantinedRecord } from "./shard/shard-protocol.ts";
import { StagedBatch } from "./staging/staged-batch.ts";
import { StagedUpload, type StagingContext } from "./staging/staged-upload.ts";

/** A shard as reads and uploads see it. */
export interface StoreShard extends ShardAccess {
  /** Of the worker that runs now. */
  readonly index: IndexReader;
  /** Why the shard takes no uploads now. */
  readonly fault: string | undefined;
}

/** What reads and uploads need of the engine, in any thread. */
export interface StoreParts {
  readonly logger: EngineLogger;
  readonly sizes: EngineSizes;
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly shards: readonly StoreShard[];
  readonly staging: StagingContext;
  readonly readers: SegmentReaders;
  readonly promptReads: PromptReads;
  readonly hotRecords: HotRecords;
}

const WHOLE: ByteRange = { offset: 0 };
/** Larger values are decoded by other threads: up to here handing over costs more. */
export const DECODED_AT_ONCE_BYTES_MAX = 64 * 1024;

/** A location that moved while it was being opened is looked up again, this often at the most. */
const LOOKUP_ATTEMPTS = 4;

/**
 * The engine on the side of its users: looks entries up in shared memory, reads segments in place, stages uploads
 * and hands them to the shard that owns the key. Each listener's thread has one. See README.md in this folder.
 */
export abstract class ShardedEntryStore implements EntryStore {
  protected readonly parts: StoreParts;
  private readonly chunkBuffers: ChunkBuffers;
  private readonly chunkReads = new ChunkReads();
  protected closed = false;

  protected constructor(parts: StoreParts) {
    this.parts = parts;
    this.chunkBuffers = new ChunkBuffers(parts.sizes.freeChunkBytesMax);
  }

  /** Keeps a record that failed its checksum in mind, for operators. */
  protected abstract noteQuarantine(record: QuarantinedRecord): void;

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

  get(
    key: EntryKey,
    range: ByteRange = WHOLE,
    accept: Encoding = "identity",
  ): Promise<EntryContent | undefined> | EntryContent | undefined {
    const found = this.lookUp(key);
    if (found === undefined) return undefined;
    const length = rangeLength(found.sizeBytes, range);
    const payload = this.parts.hotRecords.get(this.shardIndexOf(key), found) ?? this.readPromptly(key, found);
    if (payload === undefined) return this.tryOpen(key, found, range, accept) ?? this.open(key, range, accept);
    this.touch(key, found);
    return contentInMemory(found, payload, { offset: range.offset, limit: length }, accept);
  }

  prefetch(keys: readonly EntryKey[]): void {
    const { promptReads, hotRecords } = this.parts;
    if (!promptReads.arePrompt) return;
    const neighbours: Neighbour[] = [];
    const bytesMax = Math.min(NEIGHBOUR_BYTES_MAX, hotRecords.smallBytesMax);
    // What is read first is not to be driven out by what is read last.
    let bytesLeft = hotRecords.bytesMax / 4;
    for (const key of keys) {
      const found = this.lookUp(key);
      if (found?.verified !== true || found.storedBytes > bytesMax) continue;
      const shardIndex = this.shardIndexOf(key);
      if (hotRecords.has(shardIndex, found)) continue;
      bytesLeft -= found.storedBytes;
      if (bytesLeft < 0) break;
      neighbours.push({ shardIndex, found });
    }
    readNeighbours(neighbours, this.parts);
  }

  /** A value that is to be kept in memory, is known to be good, and expected in the page cache. */
  private readPromptly(key: EntryKey, found: FoundEntry): LentChunk | undefined {
    const { promptReads, readers, hotRecords } = this.parts;
    const { storedBytes, segmentId, offset } = found;
    const isReadable = found.verified && promptReads.arePrompt;
    if (!isReadable || !hotRecords.admits(this.shardIndexOf(key), found)) return undefined;
    const pinned = readers.pinOpen(segmentId);
    if (pinned === undefined) return undefined;
    const payload = memoryForPayload(storedBytes);
    try {
      // What is wrong with it, if anything, is found out by the long way.
      if (promptReads.read(pinned.fd, payload, offset + RECORD_HEADER_BYTES) < storedBytes) return undefined;
    } catch {
      return undefined;
    } finally {
      pinned.unpin();
    }
    return hotRecords.add(this.shardIndexOf(key), found, payload);
  }

  /** A larger value that is known to be good, in a segment that is open. */
  private tryOpen(key: EntryKey, found: FoundEntry, range: ByteRange, accept: Encoding): EntryContent | undefined {
    const { readers, hotRecords } = this.parts;
    if (!found.verified || found.storedBytes <= hotRecords.smallBytesMax) return undefined;
    const length = rangeLength(found.sizeBytes, range);
    const pinned = readers.pinOpen(found.segmentId);
    if (pinned === undefined) return undefined;
    this.touch(key, found);
    const { index } = this.shardOf(key);
    if (found.encoding === ENCODINGS.identity) return this.contentOf(key, index, found, pinned, range.offset, length);
    const stored = this.contentOf(key, index, found, pinned, 0, found.storedBytes);
    return contentFor(stored, { offset: range.offset, limit: length }, accept);
  }

  private async open(key: EntryKey, range: ByteRange, accept: Encoding): Promise<EntryContent | undefined> {
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
      const isEncoded = found.encoding !== ENCODINGS.identity;
      const content = isEncoded
        ? this.contentOf(key, index, found, pinned, 0, found.storedBytes)
        : this.contentOf(key, index, found, pinned, range.offset, length);
      if (found.verified || (await content.check(keyBytes(key.words)).catch(() => false))) {
        const given = { offset: range.offset, limit: length };
        const isWhole = isEncoded || length === found.sizeBytes;
        if (isWhole && found.storedBytes <= this.parts.hotRecords.smallBytesMax) {
          const payload = await this.warmUp(key, found, content);
          return payload && contentInMemory(found, payload, given, accept);
        }
        return isEncoded ? contentFor(content, given, accept) : content;
      }
      content.close();
      this.quarantine(key, found);
      return undefined;
    }
    return undefined;
  }

  /** Reads a small value at once, and keeps it. @returns undefined where it turns out to be damaged. */
  private async warmUp(key: EntryKey, found: FoundEntry, content: RecordContent): Promise<LentChunk | undefined> {
    let payload: Buffer;
    try {
      payload = await content.bytes();
    } catch {
      return undefined;
    }
    return this.parts.hotRecords.add(this.shardIndexOf(key), found, payload);
  }

  stage(key: EntryKey, options: StageOptions = {}): Promise<StagedEntry> | StagedEntry {
    const { signal, encoding = "identity" } = options;
    const sizeBytes = key.sizeBytes ?? options.sizeBytes;
    this.assertStorable(key, sizeBytes, encoding);
    return StagedUpload.start(this.parts.staging, this.shardOf(key), key, sizeBytes, signal, encoding);
  }

  attach(key: EntryKey, detached: DetachedEntry): Promise<StagedEntry> {
    return StagedUpload.attach(this.parts.staging, this.shardOf(key), key, detached);
  }

  put(key: EntryKey, bytes: Uint8Array): Promise<void> {
    return this.putOne({ key, bytes });
  }

  private async putOne(put: EntryPut): Promise<void> {
    const { key, bytes, encoding = "identity" } = put;
    this.assertPut(put);
    const upload = await this.stage(key, encoding === "identity" ? { sizeBytes: bytes.byteLength } : { encoding });
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
    for (const [position, put] of puts.entries()) {
      try {
        this.assertPut(put);
        positionsOfShard[shardOfKey(put.key.words, positionsOfShard.length)]!.push(position);
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

  private async putTogether(shard: StoreShard, puts: readonly EntryPut[]): Promise<unknown[]> {
    if (puts.length === 0) return [];
    const batch = StagedBatch.tryStage(this.parts.staging, shard, puts);
    if (batch !== undefined) return batch.commit();
    // One by one they find room, or wait for it.
    const settled = await Promise.allSettled(puts.map((put) => this.putOne(put)));
    return settled.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
  }

  private lookUp(key: EntryKey): FoundEntry | undefined {
    const found = this.shardOf(key).index.find(key.words, key.space);
    if (found === undefined) return undefined;
    // The size is part of a content-addressed key (H19).
    if (key.sizeBytes !== undefined && found.sizeBytes !== key.sizeBytes) return undefined;
    // What a later version may have written is not known to this one (H25).
    return found.encoding <= ENCODINGS.zstd ? found : undefined;
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
      chunkReads: this.chunkReads,
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
      .catch((error: unknown) => this.parts.logger.error({ err: error }, "quarantine failed"));
  }

  private shardOf(key: EntryKey): StoreShard {
    return this.shardAt(this.shardIndexOf(key));
  }

  private shardIndexOf(key: EntryKey): number {
    return shardOfKey(key.words, this.parts.shards.length);
  }

  private shardAt(shardIndex: number): StoreShard {
    const shard = this.parts.shards[shardIndex];
    if (shard === undefined)
      throw new RangeError(`shard: expected below ${this.parts.shards.length}, got ${shardIndex}`);
    return shard;
  }

  private assertPut({ key, bytes, encoding = "identity" }: EntryPut): void {
    this.assertStorable(key, encoding === "identity" ? bytes.byteLength : key.sizeBytes, encoding);
  }

  /** @param sizeBytes of the value, where it is known. */
  private assertStorable(key: EntryKey, sizeBytes: number | undefined, encoding: Encoding): void {
    this.assertWritable();
    if (encoding !== "identity" && !isContentAddressed(key)) {
      throw new CacheError("internal", `an entry of key space ${key.space} cannot be stored as ${encoding}`);
    }
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

/** A value whose stored bytes are in memory, as the reader can take it. */
function contentInMemory(
  { sizeBytes, encoding }: FoundEntry,
  payload: LentChunk,
  range: Required<ByteRange>,
  accept: Encoding,
): EntryContent {
  if (encoding === ENCODINGS.identity) {
    return new MemoryContent(sizeBytes, partOf(payload, range.offset, range.limit));
  }
  const stored = new MemoryContent(sizeBytes, payload, encodingNumbered(encoding));
  if (sizeBytes > DECODED_AT_ONCE_BYTES_MAX || isGivenAsStored(stored, range, accept)) {
    return contentFor(stored, range, accept);
  }
  try {
    const decoded = decodeZstd([payload.bytes], sizeBytes);
    return new MemoryContent(sizeBytes, partOf(ownPiece(decoded), range.offset, range.limit));
  } catch (error) {
    throw undecodable(error);
  } finally {
    stored.close();
  }
}

function contentFor(stored: EntryContent, range: Required<ByteRange>, accept: Encoding): EntryContent {
  return isGivenAsStored(stored, range, accept) ? stored : new DecodedContent(stored, range);
}

function isGivenAsStored({ encoding, sizeBytes }: EntryContent, range: Required<ByteRange>, accept: Encoding): boolean {
  return encoding === accept && range.limit === sizeBytes;
}

function partOf(payload: LentChunk, offset: number, length: number): LentChunk {
  const { bytes, giveBack } = payload;
  return length === bytes.length ? payload : { bytes: bytes.subarray(offset, offset + length), giveBack };
}

/** Bytes that a range gives of a value. @throws {CacheError} out_of_range */
function rangeLength(sizeBytes: number, range: ByteRange): number {
  if (!Number.isSafeInteger(range.offset) || range.offset < 0 || range.offset > sizeBytes) {
    throw new CacheError("out_of_range", `read_offset: expected 0 to ${sizeBytes}, got ${range.offset}`);
  }
  return Math.min(range.limit ?? Number.POSITIVE_INFINITY, sizeBytes - range.offset);
}
