import { keyWords } from "../../cache/key-words.ts";
import {
  recordFootprintBytes,
  type PlacedRecord,
  SEGMENT_HEADER_BYTES,
  SEGMENT_OVERHEAD_BYTES,
} from "../segment/segment-format.ts";
import { removeIfThere } from "../file-system.ts";
import { SegmentWriter } from "../segment/segment-writer.ts";
import type { CoveredSegment } from "../index/index-checkpoint.ts";

import { leaseSeconds } from "../lease-clock.ts";
import { segmentPath } from "../segment/segment-file.ts";
import type { ShardContext } from "./shard-context.ts";
import { isDiskFull } from "./write-failure.ts";

interface HeldSegment {
  readonly nonce: number;
  /** Where its records end; of the active segment the writer knows. */
  readonly endOffset: number;
  readonly createdAtMs: number;
  /** Monotonic; 0 for a segment of an earlier run. A use at or after this is a use since it was written. */
  readonly heldSinceSeconds: number;
  /** What the disk ledger holds for it: header, records, footer. */
  accountedBytes: number;
}

/** Thrown where the shard has stopped taking writes after repeated failed syncs (HAZARDS H5). */
class ShardReadOnlyError extends Error {}

const SYNC_FAILURES_IN_A_ROW_MAX = 3;

/**
 * The segments of one shard, oldest first, and the one that is being appended to.
 *
 *   retire ◄── oldest · · · sealed · · · sealed · active ◄── append
 */
export class ShardSegments {
  private readonly context: ShardContext;
  private readonly held = new Map<number, HeldSegment>();
  private active: SegmentWriter | undefined;
  /** Of the active segment, appended since its last sync. */
  private unsynced: PlacedRecord[] = [];
  private directoryIsDirty = false;
  private syncFailuresInARow = 0;
  private heldBytes = 0;

  constructor(context: ShardContext) {
    this.context = context;
    // A worker that died left its figures.
    this.publishStats();
  }

  /** Notes a segment that is on disk and on the ledger. */
  hold(segmentId: number, segment: HeldSegment): void {
    this.held.set(segmentId, { ...segment });
    this.heldBytes += segment.accountedBytes;
    this.publishStats();
  }

  resume(writer: SegmentWriter): void {
    this.active = writer;
  }

  get activeWriter(): SegmentWriter | undefined {
    return this.active;
  }

  /** The active segment, made if there is none. */
  writer(): SegmentWriter {
    if (this.syncFailuresInARow >= SYNC_FAILURES_IN_A_ROW_MAX) {
      throw new ShardReadOnlyError(
        `shard ${this.context.shardIndex} takes no writes after ${this.syncFailuresInARow} failed syncs in a row`,
      );
    }
    if (this.active === undefined) {
      const { fileSystem, segmentsDirectory, shardIndex, shardCount, clock } = this.context;
      const createdAtMs = clock.wallMs();
      const segmentId = this.context.assignment.takeSegmentId();
      const nonce = this.context.randomWord();
      this.active = SegmentWriter.create(fileSystem, segmentsDirectory, {
        segmentId,
        shardIndex,
        shardCount,
        createdAtMs,
        nonce,
      });
      this.directoryIsDirty = true;
      this.context.ledger.charge(SEGMENT_OVERHEAD_BYTES);
      this.hold(segmentId, {
        nonce,
        endOffset: SEGMENT_HEADER_BYTES,
        createdAtMs,
        accountedBytes: SEGMENT_OVERHEAD_BYTES,
        heldSinceSeconds: leaseSeconds(clock),
      });
    }
    return this.active;
  }

  /**
   * Whether a record of `bytes` fits; an empty segment takes one of any size.
   * @param pendingBytes Records before it that are going to be appended first.
   */
  fits(bytes: number, pendingBytes = 0): boolean {
    if (pendingBytes === 0 && (this.active?.recordCount ?? 0) === 0) return true;
    const end = (this.active?.endOffset ?? SEGMENT_HEADER_BYTES) + pendingBytes;
    return end + bytes <= this.context.segmentBytesMax;
  }

  append(records: readonly PlacedRecord[], pieces: readonly Uint8Array[], bytes: number): void {
    const writer = this.writer();
    writer.append(records, pieces, bytes);
    this.unsynced.push(...records);
    const held = this.held.get(writer.segmentId);
    if (held === undefined) throw new Error(`segment ${writer.segmentId}: appended to but not held`);
    let footprintBytes = 0;
    for (const record of records) footprintBytes += recordFootprintBytes(record.storedBytes);
    this.account(held, footprintBytes);
    this.context.stats.add("appendedRecords", records.length);
    this.context.stats.add("appendedBytes", bytes);
    this.publishStats();
  }

  /** Makes everything appended so far durable, the directory entry of a new segment included (H2). */
  sync(): void {
    if (this.active?.isDirty === true) this.countSync(this.active, (writer) => writer.sync());
    try {
      this.syncDirectory();
    } catch (error) {
      // What the caller now reports as failed lies in this segment all the same: with no more than its header counted
      // as covered (see `covered`), the next start and every later one finds it there.
      this.active?.abandon();
      this.active = undefined;
      throw error;
    }
  }

  /** Ends the active segment with its footer. The next append starts a new one. */
  seal(): void {
    const writer = this.active;
    if (writer === undefined) return;
    const endOffset = writer.endOffset;
    this.countSync(writer, () => writer.seal());
    this.active = undefined;
    this.syncDirectory();
    const held = this.held.get(writer.segmentId);
    if (held !== undefined) this.held.set(writer.segmentId, { ...held, endOffset });
  }

  syncDirectory(): void {
    if (!this.directoryIsDirty) return;
    this.context.fileSystem.syncDirectory(this.context.segmentsDirectory);
    this.directoryIsDirty = false;
  }

  /** What a checkpoint that is begun now covers. */
  covered(): CoveredSegment[] {
    const { active } = this;
    return Array.from(this.held, ([segmentId, { nonce, endOffset }]) => ({
      segmentId,
      nonce,
      endOffset: segmentId === active?.segmentId ? active.endOffset : endOffset,
    }));
  }

  /** The id of the oldest segment that may be retired. */
  oldestSealed(): number | undefined {
    for (const segmentId of this.held.keys()) if (segmentId !== this.active?.segmentId) return segmentId;
    return undefined;
  }

  /** The next sealed segment in order of age, or the oldest. */
  sealedAfter(segmentId: number | undefined): number | undefined {
    const ids = Array.from(this.held.keys()).filter((id) => id !== this.active?.segmentId);
    const position = segmentId === undefined ? -1 : ids.indexOf(segmentId);
    // Gone since: whatever is the oldest now is as good a place to go on.
    return segmentId !== undefined && position === -1 ? ids[0] : ids[position + 1];
  }

  /** Oldest first, the active one included. */
  get ids(): number[] {
    return [...this.held.keys()];
  }

  accountedBytes(segmentId: number): number {
    return this.held.get(segmentId)?.accountedBytes ?? 0;
  }

  heldSinceSeconds(segmentId: number): number {
    return this.held.get(segmentId)?.heldSinceSeconds ?? 0;
  }

  /** Puts a segment that is kept whole behind all others, as if it had just been written. */
  renew(segmentId: number): void {
    const held = this.held.get(segmentId);
    if (held === undefined) return;
    this.held.delete(segmentId);
    this.held.set(segmentId, { ...held, heldSinceSeconds: leaseSeconds(this.context.clock) });
    this.publishStats();
  }

  /**
   * Removes the file, if somebody else has not done so; open readers finish.
   * @returns the bytes given back to the ledger.
   */
  unlink(segmentId: number): number {
    const bytes = this.accountedBytes(segmentId);
    removeIfThere(this.context.fileSystem, segmentPath(this.context.segmentsDirectory, segmentId));
    this.held.delete(segmentId);
    this.heldBytes -= bytes;
    this.context.ledger.release(bytes);
    this.publishStats();
    return bytes;
  }

  private countSync(writer: SegmentWriter, sync: (writer: SegmentWriter) => void): void {
    const { stats, clock } = this.context;
    const startMs = clock.monotonicMs();
    try {
      sync(writer);
    } catch (error) {
      // Never synced again: a second fdatasync would report success for pages that the kernel has dropped.
      // A full disk passes, and the shard must go on then without a restart (H7); a failing one does not.
      if (!isDiskFull(error)) this.syncFailuresInARow += 1;
      stats.add("syncFailures");
      if (this.syncFailuresInARow >= SYNC_FAILURES_IN_A_ROW_MAX) stats.set("readOnly", 1);
      if (this.active === writer) this.active = undefined;
      const fate = writer.abandon();
      if (fate !== "kept") this.loseUnsynced(writer.segmentId, fate === "cut");
      this.unsynced = [];
      throw error;
    }
    this.unsynced = [];
    this.syncFailuresInARow = 0;
    stats.countSync((clock.monotonicMs() - startMs) / 1000);
  }

  /**
   * What was published before its sync (durability relaxed) and is lost becomes a miss: its pages may hold anything.
   * @param wasCut Whether its bytes are off the disk.
   */
  private loseUnsynced(segmentId: number, wasCut: boolean): void {
    const { index, ledger } = this.context;
    let footprintBytes = 0;
    for (const { key, space, offset, storedBytes } of this.unsynced) {
      const words = keyWords(key);
      const entry = index.find(words, space);
      if (entry?.segmentId === segmentId && entry.offset === offset) index.remove(words, space);
      footprintBytes += recordFootprintBytes(storedBytes);
    }
    const held = this.held.get(segmentId);
    if (held === undefined || !wasCut) return;
    this.account(held, -footprintBytes);
    ledger.release(footprintBytes);
    this.publishStats();
  }

  private account(held: HeldSegment, bytes: number): void {
    held.accountedBytes += bytes;
    this.heldBytes += bytes;
  }

  private publishStats(): void {
    const { stats } = this.context;
    stats.set("segments", this.held.size);
    stats.set("segmentBytes", this.heldBytes);
    const oldest = this.held.entries().next().value;
    stats.set("oldestSegmentId", oldest?.[0] ?? 0);
    stats.set("oldestSegmentCreatedAtMs", oldest?.[1].createdAtMs ?? 0);
  }
}
