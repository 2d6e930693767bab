import { CacheError } from "../../cache/cache-error.ts";
import { type Encoding, encodingNumbered } from "../../cache/encoding.ts";
import type { EntryContent } from "../../cache/entry-store.ts";
import { type FileSystem, readFullyAsync } from "../file-system.ts";
import type { EntryLocation } from "../index/index-layout.ts";
import { type ChunkBuffers, type LentChunk, ownPiece } from "./chunk-buffers.ts";
import type { PromptReads } from "./prompt-reads.ts";
import {
  CHUNK_BYTES,
  chunkCount,
  chunkHolds,
  decodeRecordHeader,
  RECORD_HEADER_BYTES,
  recordTrailerBytes,
} from "./segment-format.ts";
import type { PinnedSegment } from "./segment-readers.ts";

export interface RecordContentOptions {
  readonly fileSystem: FileSystem;
  readonly promptReads: PromptReads;
  readonly chunkBuffers: ChunkBuffers;
  readonly pinned: PinnedSegment;
  readonly location: EntryLocation;
  /** Where in the payload to begin, and how many bytes to give. */
  readonly offset: number;
  readonly length: number;
  /** Whether the checksums were seen to hold before. */
  readonly verified: boolean;
  /** Called once when every chunk was read and held. */
  readonly onVerified: () => void;
  /** Called when a checksum fails, before the error is thrown. */
  readonly onCorrupt: () => void;
}

/**
 * A record's payload, read chunk by chunk from its segment. Until the record is known to be good, each chunk is
 * checked before any of its bytes is given out (I6).
 */
export class RecordContent implements EntryContent {
  private readonly options: RecordContentOptions;
  private trailer: Buffer | undefined;
  private chunksHeld = 0;
  private ahead: LentChunk | undefined;
  private reading = false;
  private closed = false;

  constructor(options: RecordContentOptions) {
    this.options = options;
  }

  /** Of the payload, which is what it gives. */
  get encoding(): Encoding {
    return encodingNumbered(this.options.location.encoding) ?? "identity";
  }

  get sizeBytes(): number {
    return this.options.location.sizeBytes;
  }

  /**
   * Checks what has not been checked since the start: the record header against the index, and the first chunk that
   * was asked for, so that a damaged small value is a miss rather than a stream that breaks off.
   * @returns false where the record is damaged.
   */
  async check(key: Uint8Array): Promise<boolean> {
    const { fileSystem, pinned, location } = this.options;
    const header = Buffer.alloc(RECORD_HEADER_BYTES);
    await readFullyAsync(fileSystem, pinned.fd, header, location.offset);
    const record = decodeRecordHeader(header);
    if (record === undefined || !Buffer.from(record.key).equals(key)) return false;
    if (record.space !== location.space || record.storedBytes !== location.storedBytes) return false;
    if (record.encoding !== location.encoding) return false;
    const trailer = Buffer.alloc(recordTrailerBytes(location.storedBytes));
    const at = location.offset + RECORD_HEADER_BYTES + location.storedBytes;
    if ((await readFullyAsync(fileSystem, pinned.fd, trailer, at)) < trailer.length) return false;
    this.trailer = trailer;
    if (this.options.length === 0) return true;
    const chunkIndex = Math.floor(this.options.offset / CHUNK_BYTES);
    this.ahead = await this.readChunk(chunkIndex, (bytes) => ownPiece(Buffer.allocUnsafe(bytes))).catch(
      () => undefined,
    );
    return this.ahead !== undefined;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for await (const { bytes } of this.pieces((sizeBytes) => ownPiece(Buffer.allocUnsafe(sizeBytes)))) yield bytes;
  }

  lend(): AsyncGenerator<LentChunk> {
    const { chunkBuffers } = this.options;
    return this.pieces((sizeBytes) => chunkBuffers.take(sizeBytes));
  }

  /** While a chunk is given out the next one is read, where that takes time: two are held at the most. */
  private async *pieces(take: (sizeBytes: number) => LentChunk): AsyncGenerator<LentChunk> {
    const end = this.options.offset + this.options.length;
    try {
      let reading: Promise<LentChunk> | undefined;
      for (let at = this.options.offset; at < end;) {
        const { bytes, giveBack } = await (reading ?? this.chunkAt(at, take));
        const chunkStart = at - (at % CHUNK_BYTES);
        const to = Math.min(bytes.length, end - chunkStart);
        const from = at - chunkStart;
        at = chunkStart + to;
        reading = at < end && !this.isPrompt ? this.chunkAt(at, take) : undefined;
        // What becomes of it is told when it is asked for, and nobody may ask any more.
        reading?.catch(() => {});
        yield { bytes: from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), giveBack };
      }
    } finally {
      this.close();
    }
  }

  async bytes(): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this) pieces.push(piece);
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
  }

  close(): void {
    this.closed = true;
    // A read in flight keeps its descriptor: the number might be another file's by the time the read runs.
    if (!this.reading) this.options.pinned.unpin();
  }

  /** The chunk with the byte at `at`, which the check may have read already. */
  private async chunkAt(at: number, take: (sizeBytes: number) => LentChunk): Promise<LentChunk> {
    if (this.closed) throw closedMeanwhile();
    const { ahead } = this;
    this.ahead = undefined;
    return ahead ?? (await this.readChunk(Math.floor(at / CHUNK_BYTES), take));
  }

  private async readChunk(chunkIndex: number, take: (sizeBytes: number) => LentChunk): Promise<LentChunk> {
    const { fileSystem, pinned, location, verified } = this.options;
    const start = chunkIndex * CHUNK_BYTES;
    const taken = take(Math.min(CHUNK_BYTES, location.storedBytes - start));
    const chunk = taken.bytes;
    const at = location.offset + RECORD_HEADER_BYTES + start;
    let read: number;
    if (this.isPrompt) {
      read = this.readPromptly(chunk, at);
    } else {
      this.reading = true;
      read = await readFullyAsync(fileSystem, pinned.fd, chunk, at).catch(() => -1);
      this.reading = false;
      if (this.closed) {
        pinned.unpin();
        throw closedMeanwhile();
      }
    }
    if (read < chunk.length) throw this.corrupt();
    if (verified) return taken;
    if (this.trailer === undefined || !chunkHolds(chunk, this.trailer, chunkIndex)) throw this.corrupt();
    this.chunksHeld += 1;
    if (this.chunksHeld === chunkCount(location.storedBytes)) this.options.onVerified();
    return taken;
  }

  /** What was written or checked since the start is expected in the page cache. */
  private get isPrompt(): boolean {
    return this.options.verified && this.options.promptReads.arePrompt;
  }

  /** @returns -1 where it fails. */
  private readPromptly(target: Buffer, position: number): number {
    try {
      return this.options.promptReads.read(this.options.pinned.fd, target, position);
    } catch {
      return -1;
    }
  }

  private corrupt(): CacheError {
    this.options.onCorrupt();
    // A miss, as far as the client is concerned, also in the middle of a stream.
    return new CacheError("not_found", "the blob is damaged on disk and was taken out of the cache");
  }
}

function closedMeanwhile(): CacheError {
  return new CacheError("cancelled", "the content was closed while it was read");
}
