import { keyWords } from "../../cache/key-words.ts";
import { isPassing } from "../file-system.ts";

import { checkRecord } from "../segment/record-check.ts";
import { segmentPath } from "../segment/segment-file.ts";
import { type PlacedRecord, recordBytes } from "../segment/segment-format.ts";
import { recoverSegment } from "../segment/segment-recovery.ts";
import type { ShardContext } from "./shard-context.ts";
import type { ScrubResult } from "./shard-protocol.ts";
import type { ShardSegments } from "./shard-segments.ts";

/** Read between two group commits. */
const SLICE_BYTES = 1024 * 1024;

/**
 * Reads what nobody has read for a while, so that bit rot is found while the blob can still be uploaded again (H6).
 * It goes round the sealed segments, a budget of bytes a call; what fails leaves the index.
 */
export class Scrub {
  private readonly context: ShardContext;
  private readonly segments: ShardSegments;
  private segmentId: number | undefined;
  private records: readonly PlacedRecord[] = [];
  private nextRecord = 0;

  constructor(context: ShardContext, segments: ShardSegments) {
    this.context = context;
    this.segments = segments;
  }

  /** Checks about `budgetBytes` of live records and goes on there at the next call. */
  *run(budgetBytes: number): Generator<undefined, ScrubResult> {
    const corrupt: ScrubResult["corrupt"][number][] = [];
    let readBytes = 0;
    let sliceBytes = 0;
    while (readBytes < budgetBytes) {
      if (this.nextRecord >= this.records.length && !this.openNextSegment()) break;
      const record = this.records[this.nextRecord];
      this.nextRecord += 1;
      if (record === undefined) continue;
      const bytes = this.check(record, corrupt);
      readBytes += bytes;
      sliceBytes += bytes;
      if (sliceBytes < SLICE_BYTES) continue;
      sliceBytes = 0;
      yield;
    }
    this.context.stats.add("scrubbedBytes", readBytes);
    return { corrupt };
  }

  private openNextSegment(): boolean {
    const { fileSystem, segmentsDirectory, stats } = this.context;
    const next = this.segments.sealedAfter(this.segmentId);
    if (next === undefined) {
      // Round once: the next call begins at the oldest segment again.
      if (this.segmentId !== undefined) stats.add("scrubRounds");
      this.segmentId = undefined;
      return false;
    }
    this.segmentId = next;
    this.nextRecord = 0;
    this.records = [];
    stats.set("scrubSegmentId", next);
    try {
      const fd = fileSystem.open(segmentPath(segmentsDirectory, next), "read");
      try {
        this.records = recoverSegment(fileSystem, fd).records;
      } finally {
        fileSystem.close(fd);
      }
    } catch {
      // Retired, unreadable, or out of descriptors: its records are checked when they are asked for.
    }
    return true;
  }

  /** @returns bytes read. */
  private check(record: PlacedRecord, corrupt: ScrubResult["corrupt"][number][]): number {
    const { fileSystem, segmentsDirectory, index, stats } = this.context;
    const { segmentId } = this;
    const words = keyWords(record.key);
    const entry = index.find(words, record.space);
    if (segmentId === undefined || entry?.segmentId !== segmentId || entry.offset !== record.offset) return 0;
    if (this.holds(segmentPath(segmentsDirectory, segmentId), record, fileSystem))
      return recordBytes(record.storedBytes);
    index.remove(words, record.space);
    stats.add("quarantinedRecords");
    corrupt.push({ space: record.space, key: Uint8Array.from(record.key), segmentId, offset: record.offset });
    return recordBytes(record.storedBytes);
  }

  private holds(path: string, record: PlacedRecord, fileSystem: ShardContext["fileSystem"]): boolean {
    try {
      const fd = fileSystem.open(path, "read");
      try {
        return checkRecord(fileSystem, fd, record, { hash: false }) === undefined;
      } finally {
        fileSystem.close(fd);
      }
    } catch (error) {
      // Nothing was seen to be wrong with it: the next round looks again (H9).
      return isPassing(error);
    }
  }
}
