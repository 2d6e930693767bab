import { keyWords } from "../../cache/key-words.ts";
import { ACTION_CACHE_SPACE } from "../../cache/entry-key.ts";
import {
  CHUNK_BYTES,
  chunkCount,
  chunkHolds,
  encodeRecordHeader,
  type PlacedRecord,
  RECORD_HEADER_BYTES,
  recordBytes,
  recordFootprintBytes,
  recordTrailerBytes,
  SEGMENT_OVERHEAD_BYTES,
} from "../segment/segment-format.ts";
import { errorCode, readFully } from "../file-system.ts";

import type { FoundEntry } from "../index/index-reader.ts";
import { segmentPath } from "../segment/segment-file.ts";
import { leaseSeconds } from "../lease-clock.ts";
import { recoverSegment } from "../segment/segment-recovery.ts";
import type { SegmentWriter } from "../segment/segment-writer.ts";
import type { ShardContext } from "./shard-context.ts";
import type { RetireResult } from "./shard-protocol.ts";
import type { ShardSegments } from "./shard-segments.ts";

interface LiveRecord {
  readonly record: PlacedRecord;
  readonly words: Int32Array;
  readonly entry: FoundEntry;
  readonly leased: boolean;
  readonly used: boolean;
  /** Its owner has no more than its share. */
  readonly favoured: boolean;
}

/** What is to be kept of a segment, in the order in which it gets room. */
interface Choice {
  readonly kept: readonly LiveRecord[];
  readonly keptBytes: number;
  /** Of them, what is kept because it is leased or was used. */
  readonly creditedBytes: number;
}

/** A record that was appended again and is not published yet. */
interface Copy {
  readonly live: LiveRecord;
  readonly copy: PlacedRecord;
  readonly writer: SegmentWriter;
  /** Its segment was made for it. */
  readonly isFirst: boolean;
}

/** Copied in one go; group commits of the shard run in between. */
const SLICE_BYTES = 4 * 1024 * 1024;
const COPIED_RECORD_BYTES_MAX = 64 * 1024 * 1024;
/** Records that were merely used since they were written are copied up to this share of the segment. */
const USED_SHARE_MAX = 0.5;
/** Less credit than this is for leases alone. */
const FAVOUR_CREDIT_SHARE_MIN = 0.5;
/** A segment that would be kept to this share is put behind the others instead of being copied. */
const KEEP_WHOLE_SHARE_MIN = 0.75;

/**
 * Retires the oldest segment of a shard. Ageing, oldest on the left:
 *
 *   before   [ a b c d ] [ e f g ] … [ x y ▁ ]      b was read since, d holds a lease, a and c were not used
 *   after    [ e f g ] … [ x y b d ]                 a and c are gone, and so is the file
 *
 * Copying is bounded, so that retirement always makes room: used records up to half of the segment (a segment of
 * one large record is kept or not); leased ones as long as there is credit. The credit starts at half of what the shard holds, is spent by copying and earned back by
 * freeing. A lease that must be broken is counted: the budget is too small for the promise.
 *
 * What favoured owners have is kept as it is, used or not: all of them together never have more than a part of the
 * store, so the others' is found in one round of the segments at the latest (see ../owners/fair-share.ts). It costs no
 * credit, but leases go before: once they have spent half of the credit nobody is favoured.
 */
export class Retention {
  private readonly context: ShardContext;
  private readonly segments: ShardSegments;
  private readonly takeSequence: () => number;
  private copyCreditBytes: number;
  private readonly copyCreditBytesMax: number;

  constructor(context: ShardContext, segments: ShardSegments, takeSequence: () => number) {
    this.context = context;
    this.segments = segments;
    this.takeSequence = takeSequence;
    this.copyCreditBytesMax = context.ledger.bytesMax / context.shardCount / 2;
    this.copyCreditBytes = this.copyCreditBytesMax;
  }

  /** One step of making room; yields between slices. */
  *retireOldest(favoured: ReadonlySet<number>): Generator<undefined, RetireResult> {
    if (this.segments.oldestSealed() === undefined) this.segments.seal();
    const segmentId = this.segments.oldestSealed();
    if (segmentId === undefined) return { retiredSegmentIds: [], freedBytes: 0 };
    const accounted = this.segments.accountedBytes(segmentId);
    const { live, replacedCount } = this.liveRecords(segmentId, favoured);
    const { kept, keptBytes, creditedBytes } = this.choose(live, accounted);
    // A segment that holds a replaced value must go before the one that holds the value's successor: else, once that
    // is gone, a restart would bring the old value back. Hence such a segment is not kept, and one that is kept has
    // only segments behind it in which its values may be replaced.
    if (keptBytes >= accounted * KEEP_WHOLE_SHARE_MIN && replacedCount === 0) {
      this.copyCreditBytes -= creditedBytes;
      if (live.some(({ record }) => isReplaceable(record))) this.segments.seal();
      this.segments.renew(segmentId);
      return { retiredSegmentIds: [], freedBytes: 0 };
    }
    const takenBytes = yield* this.copyForward(segmentId, kept);
    this.drop(segmentId, live);
    this.segments.unlink(segmentId);
    const earnedBytes = accounted - keptBytes - creditedBytes;
    this.copyCreditBytes = Math.min(this.copyCreditBytesMax, this.copyCreditBytes + earnedBytes);
    this.context.stats.add("retiredSegments");
    return { retiredSegmentIds: [segmentId], freedBytes: accounted - takenBytes };
  }

  /** Takes this shard's keys out of a segment that was written under another shard count; the file stays. */
  *leaveForeign(segmentId: number, favoured: ReadonlySet<number>): Generator<undefined, RetireResult> {
    const { live } = this.liveRecords(segmentId, favoured);
    const bytes = live.reduce((sum, { record }) => sum + recordFootprintBytes(record.storedBytes), 0);
    // A copy is read whole; an adopted segment may be larger than memory.
    const copyable = live.filter(({ record }) => record.storedBytes <= COPIED_RECORD_BYTES_MAX);
    const { kept } = this.choose(copyable, bytes);
    yield* this.copyForward(segmentId, kept);
    this.drop(segmentId, live);
    return { retiredSegmentIds: [], freedBytes: 0 };
  }

  /** What the index still points to in a segment, and how many values in it have been replaced since. */
  private liveRecords(segmentId: number, favoured: ReadonlySet<number>): { live: LiveRecord[]; replacedCount: number } {
    const { fileSystem, segmentsDirectory, index, clock, minLeaseSeconds } = this.context;
    let records: PlacedRecord[];
    try {
      const fd = fileSystem.open(segmentPath(segmentsDirectory, segmentId), "read");
      try {
        ({ records } = recoverSegment(fileSystem, fd));
      } finally {
        fileSystem.close(fd);
      }
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      // There is nothing left to copy. The entries go with the segment: an upload of what they name would be answered
      // "present", and be lost (I2).
      this.context.stats.add("quarantinedRecords", index.removeSegment(segmentId));
      return { live: [], replacedCount: 0 };
    }
    const nowSeconds = leaseSeconds(clock);
    const sinceSeconds = this.segments.heldSinceSeconds(segmentId);
    const live: LiveRecord[] = [];
    let replacedCount = 0;
    for (const record of records) {
      const words = keyWords(record.key);
      const entry = index.find(words, record.space);
      if (entry === undefined || entry.segmentId !== segmentId || entry.offset !== record.offset) {
        if (isReplaceable(record)) replacedCount += 1;
        continue;
      }
      const used = entry.lastUseSeconds > 0 && entry.lastUseSeconds >= sinceSeconds;
      const leased = entry.lastUseSeconds > 0 && entry.lastUseSeconds + minLeaseSeconds > nowSeconds;
      live.push({ record, words, entry, leased, used, favoured: favoured.has(entry.owner) });
    }
    return { live, replacedCount };
  }

  private choose(live: readonly LiveRecord[], accountedBytes: number): Choice {
    const kept: LiveRecord[] = [];
    let keptBytes = 0;
    let creditedBytes = 0;
    const credit = (): number => this.copyCreditBytes - creditedBytes;
    for (const candidate of live) {
      if (!candidate.leased) continue;
      const footprint = recordFootprintBytes(candidate.record.storedBytes);
      if (footprint > credit()) {
        this.context.stats.add("leasesBroken");
        continue;
      }
      creditedBytes += footprint;
      keptBytes += footprint;
      kept.push(candidate);
    }
    const isFair = credit() >= this.copyCreditBytesMax * FAVOUR_CREDIT_SHARE_MIN;
    for (const candidate of live) {
      if (!isFair || candidate.leased || !candidate.favoured) continue;
      this.context.stats.add("favouredRecords");
      keptBytes += recordFootprintBytes(candidate.record.storedBytes);
      kept.push(candidate);
    }
    for (const candidate of live) {
      if (candidate.leased || !candidate.used || (isFair && candidate.favoured)) continue;
      const footprint = recordFootprintBytes(candidate.record.storedBytes);
      const overShare = live.length > 1 && keptBytes + footprint > accountedBytes * USED_SHARE_MAX;
      if (footprint > credit() || overShare) continue;
      creditedBytes += footprint;
      keptBytes += footprint;
      kept.push(candidate);
    }
    return { kept, keptBytes, creditedBytes };
  }

  /** @returns the bytes that the copies have taken on the ledger, the segments that were made for them included. */
  private *copyForward(segmentId: number, kept: readonly LiveRecord[]): Generator<undefined, number> {
    if (kept.length === 0) return 0;
    const { fileSystem, segmentsDirectory } = this.context;
    const fd = fileSystem.open(segmentPath(segmentsDirectory, segmentId), "read");
    const copies: Copy[] = [];
    let takenBytes = 0;
    try {
      let sliceBytes = 0;
      for (const live of kept) {
        const copy = this.copyRecord(fd, segmentId, live);
        if (copy !== undefined) {
          copies.push(copy);
          takenBytes += recordFootprintBytes(live.record.storedBytes) + (copy.isFirst ? SEGMENT_OVERHEAD_BYTES : 0);
        }
        sliceBytes += recordBytes(live.record.storedBytes);
        if (sliceBytes < SLICE_BYTES) continue;
        sliceBytes = 0;
        yield;
      }
    } finally {
      fileSystem.close(fd);
    }
    this.segments.sync();
    // Nobody is sent to a copy before it is durable. A group commit between two slices may have lost some of them
    // with the segment whose sync failed (H5): then the originals stay, and the next attempt copies anew.
    const lost = copies.find(({ writer }) => writer.wasAbandoned);
    if (lost !== undefined)
      throw new Error(`segment ${segmentId}: copies in segment ${lost.writer.segmentId} were lost`);
    for (const copy of copies) this.publish(segmentId, copy);
    return takenBytes;
  }

  /** Where the entry points if it is still this record, or undefined: replaced meanwhile by a newer value. */
  private current(segmentId: number, { record, words }: LiveRecord): FoundEntry | undefined {
    const entry = this.context.index.find(words, record.space);
    return entry?.segmentId === segmentId && entry.offset === record.offset ? entry : undefined;
  }

  private publish(segmentId: number, { live, copy, writer }: Copy): void {
    const entry = this.current(segmentId, live);
    if (entry === undefined) return;
    const { lastUseSeconds } = entry;
    this.context.index.publish(
      live.words,
      { ...copy, segmentId: writer.segmentId },
      { verified: true, lastUseSeconds },
    );
  }

  private copyRecord(fd: number, segmentId: number, live: LiveRecord): Copy | undefined {
    const { ledger, stats } = this.context;
    if (this.current(segmentId, live) === undefined) return undefined;
    const footprintBytes = recordFootprintBytes(live.record.storedBytes);
    // The budget goes before the lease (I7): an adopted record of another shard count may be larger than what is
    // kept free.
    if (!ledger.tryReserve(footprintBytes, 0)) {
      if (live.leased) stats.add("leasesBroken");
      return undefined;
    }
    let copy: Copy | undefined;
    try {
      copy = this.appendCopy(fd, live);
    } finally {
      if (copy === undefined) ledger.release(footprintBytes);
    }
    return copy;
  }

  private appendCopy(fd: number, live: LiveRecord): Copy | undefined {
    const { stats } = this.context;
    const { record } = live;
    const body = this.readVerified(fd, record);
    if (body === undefined) {
      stats.add("quarantinedRecords");
      return undefined;
    }
    const bytes = recordBytes(record.storedBytes);
    if (!this.segments.fits(bytes)) this.segments.seal();
    const isFirst = this.segments.activeWriter === undefined;
    const writer = this.segments.writer();
    const copy: PlacedRecord = { ...record, sequence: this.takeSequence(), offset: writer.endOffset };
    this.segments.append([copy], [encodeRecordHeader(copy, writer.identity.nonce), body], bytes);
    stats.add("copiedRecords");
    stats.add("copiedBytes", bytes);
    return { live, copy, writer, isFirst };
  }

  /** Payload and trailer as they stand on disk, or undefined where they cannot be read or a checksum fails. */
  private readVerified(fd: number, record: PlacedRecord): Buffer | undefined {
    const { storedBytes } = record;
    const body = Buffer.allocUnsafe(storedBytes + recordTrailerBytes(storedBytes));
    try {
      const read = readFully(this.context.fileSystem, fd, body, record.offset + RECORD_HEADER_BYTES);
      if (read < body.length) return undefined;
    } catch (error) {
      if (isUnreadable(error)) return undefined;
      throw error;
    }
    const trailer = body.subarray(storedBytes);
    for (let chunk = 0; chunk < chunkCount(storedBytes); chunk += 1) {
      const end = Math.min(storedBytes, (chunk + 1) * CHUNK_BYTES);
      if (!chunkHolds(body.subarray(chunk * CHUNK_BYTES, end), trailer, chunk)) return undefined;
    }
    return body;
  }

  private drop(segmentId: number, live: readonly LiveRecord[]): void {
    const { index, stats } = this.context;
    for (const candidate of live) {
      if (this.current(segmentId, candidate) === undefined) continue;
      index.remove(candidate.words, candidate.record.space);
      stats.add("retiredRecords");
    }
  }
}

function isReplaceable({ space }: PlacedRecord): boolean {
  return space >= ACTION_CACHE_SPACE;
}

/** Gone for good, as opposed to a want of descriptors or memory that passes. */
function isUnreadable(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOENT" || code === "EIO";
}
