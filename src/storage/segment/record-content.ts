import { CacheError } from "../../cache/cache-error.ts";
import { type Encoding, encodingNumbered } from "../../cache/encoding.ts";
import type { EntryContent, LentPieces } from "../../cache/entry-store.ts";
import { type FileSystem, readFullyAsync } from "../file-system.ts";
import type { EntryLocation } from "../index/index-layout.ts";
import { type ChunkBuffers, type LentChunk, ownPiece } from "./chunk-buffers.ts";
import type { ChunkReads } from "./chunk-reads.ts";
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
  readonly chunkReads: ChunkReads;
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
 * checked before any of its bytes is given out (I6). What is known to be good is also read in parts, where less is asked
 * for, and so is a chunk once it was checked: its reader holds no more than it has asked for.
 */
export class RecordContent implements EntryContent, LentPieces {
  private readonly options: RecordContentOptions;
  private trailer: Buffer | undefined;
  private chunksHeld = 0;
  /** Where the chunk begins that was seen to hold last. */
  private heldChunkStart = -1;
  /** Where in the payload the next piece begins. */
  private at: number;
  private readonly end: number;
  /** The part with that byte, where it was read already. */
  private ahead: LentChunk | undefined;
  /** It is, or will be, read before it is asked for. */
  private isAhead = false;
  /** Where the part begins that was read last. */
  private partStart = 0;
  /** Of a part, as it was last asked for. */
  private partBytesMax = CHUNK_BYTES;
  /** Until then it is being read. */
  private fetching: Promise<true> | undefined;
  private isLending = false;
  private reading = false;
  private closed = false;

  constructor(options: RecordContentOptions) {
    this.options = options;
    this.at = options.offset;
    this.end = options.offset + options.length;
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
    this.ahead = await this.readPart().catch(() => undefined);
    return this.ahead !== undefined;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    try {
      do {
        for (let piece = this.take(); piece !== undefined; piece = this.take()) yield piece.bytes;
      } while (await this.more());
    } finally {
      this.close();
    }
  }

  lend(): this {
    this.isLending = true;
    return this;
  }

  /** While a chunk is given out the next one is read, where that takes time: two are held at the most; of parts, one. */
  take(bytesMax = CHUNK_BYTES): LentChunk | undefined {
    this.partBytesMax = bytesMax;
    if (this.at < this.end) return this.takeNext();
    this.close();
    return undefined;
  }

  more(): Promise<boolean> | false {
    return this.at < this.end && this.fetch();
  }

  async bytes(): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this) pieces.push(piece);
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
  }

  close(): void {
    this.closed = true;
    this.endAhead();
    // A read in flight keeps its descriptor: the number might be another file's by the time the read runs.
    if (!this.reading) this.options.pinned.unpin();
  }

  private takeNext(): LentChunk | undefined {
    if (this.closed) throw closedMeanwhile();
    const part = this.ahead ?? this.tryRead();
    if (part === undefined) return undefined;
    this.ahead = undefined;
    this.endAhead();
    const start = this.partStart;
    const from = this.at - start;
    const to = Math.min(part.bytes.length, this.end - start);
    const piece = this.pieceOf(part, from, to);
    this.at += piece.bytes.length;
    if (this.at === this.end) this.close();
    else if (!this.isPrompt && this.partBytesMax >= CHUNK_BYTES) this.readAhead();
    return piece;
  }

  private pieceOf(part: LentChunk, from: number, to: number): LentChunk {
    const { bytes, giveBack } = part;
    if (to - from <= this.partBytesMax) {
      return from === 0 && to === bytes.length ? part : { bytes: bytes.subarray(from, to), giveBack };
    }
    // It had to be read whole. The rest of it is read again, from the page cache.
    const piece = this.memoryFor(this.partBytesMax);
    bytes.copy(piece.bytes, 0, from);
    giveBack();
    return piece;
  }

  private readAhead(): void {
    if (!this.options.chunkReads.tryAhead()) return;
    this.isAhead = true;
    // What becomes of it is told when it is asked for, and nobody may ask any more.
    this.fetch().catch(() => {});
  }

  private endAhead(): void {
    if (this.isAhead) this.options.chunkReads.endAhead();
    this.isAhead = false;
  }

  /** Reads the next part where that can be done at once. */
  private tryRead(): LentChunk | undefined {
    if (!this.isPrompt || this.fetching !== undefined) return undefined;
    const part = this.memoryOfPart();
    return this.checked(part, this.readPromptly(part.bytes, this.position));
  }

  /** Reads the next part ahead of being asked for it. */
  private fetch(): Promise<true> {
    if (this.closed) return Promise.reject(closedMeanwhile());
    this.fetching ??= this.readPart().then((part) => {
      this.ahead = part;
      this.fetching = undefined;
      return true;
    });
    return this.fetching;
  }

  private async readPart(): Promise<LentChunk> {
    const { fileSystem, pinned, chunkReads } = this.options;
    this.reading = true;
    const waiting = chunkReads.enter();
    if (waiting !== undefined) await waiting;
    // For somebody who has gone meanwhile nothing is read.
    const part = this.closed ? ownPiece(NO_BYTES) : this.memoryOfPart();
    const read = await readFullyAsync(fileSystem, pinned.fd, part.bytes, this.position).catch(() => -1);
    chunkReads.leave();
    this.reading = false;
    if (this.closed) {
      part.giveBack();
      pinned.unpin();
      throw closedMeanwhile();
    }
    return this.checked(part, read);
  }

  private get chunkStart(): number {
    return this.at - (this.at % CHUNK_BYTES);
  }

  private get isHeld(): boolean {
    return this.options.verified || this.chunkStart === this.heldChunkStart;
  }

  /** What has to be checked is read from the beginning of its chunk to the end. */
  private memoryOfPart(): LentChunk {
    const { isHeld, chunkStart } = this;
    const chunkEnd = Math.min(chunkStart + CHUNK_BYTES, this.options.location.storedBytes);
    const end = isHeld ? Math.min(this.at + this.partBytesMax, chunkEnd, this.end) : chunkEnd;
    this.partStart = isHeld ? this.at : chunkStart;
    return this.memoryFor(end - this.partStart);
  }

  private memoryFor(bytes: number): LentChunk {
    return this.isLending ? this.options.chunkBuffers.take(bytes) : ownPiece(Buffer.allocUnsafe(bytes));
  }

  private get position(): number {
    return this.options.location.offset + RECORD_HEADER_BYTES + this.partStart;
  }

  /** @param readBytes that were read of it; -1 where reading failed. @returns the part. */
  private checked(part: LentChunk, readBytes: number): LentChunk {
    const { location, onVerified } = this.options;
    if (readBytes < part.bytes.length) throw this.corrupt();
    if (this.isHeld) return part;
    const chunkIndex = this.chunkStart / CHUNK_BYTES;
    if (this.trailer === undefined || !chunkHolds(part.bytes, this.trailer, chunkIndex)) throw this.corrupt();
    this.heldChunkStart = this.chunkStart;
    this.chunksHeld += 1;
    if (this.chunksHeld === chunkCount(location.storedBytes)) onVerified();
    return part;
  }

  /** What was written or checked since the start is expected in the page cache, and so is what was read just now. */
  private get isPrompt(): boolean {
    return this.isHeld && this.options.promptReads.arePrompt;
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

const NO_BYTES = Buffer.alloc(0);

function closedMeanwhile(): CacheError {
  return new CacheError("cancelled", "the content was closed while it was read");
}
