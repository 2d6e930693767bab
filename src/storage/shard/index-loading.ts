import { keyWords } from "../../cache/key-words.ts";
import { errorCode } from "../file-system.ts";
import { type CheckpointSource, removeCheckpoint, restoreCheckpoint } from "../index/index-checkpoint.ts";
import { type EntryLocation, shardOfKey } from "../index/index-layout.ts";
import { leaseSeconds } from "../lease-clock.ts";
import { segmentPath } from "../segment/segment-file.ts";
import { FooterCursor } from "../segment/segment-format.ts";
import { inspectSegment, readFooterTable, recoverSegment } from "../segment/segment-recovery.ts";
import type { ShardContext } from "./shard-context.ts";
import type { LoadRequest, SegmentSummary } from "./shard-protocol.ts";

export function checkpointSource({
  fileSystem,
  checkpointDirectory,
  shardIndex,
  shardCount,
}: ShardContext): CheckpointSource {
  return { fileSystem, directory: checkpointDirectory, shardIndex, shardCount };
}

/** How the warning begins that tells of entries which a start has left out. */
export const NO_ROOM = "the index has no room for every entry";

export interface LoadedIndex {
  readonly fromCheckpoint: number;
  readonly checkpointBytes: number;
  /** Segments of which the checkpoint has seen more than is there: their tail was damaged. */
  readonly shortened: ReadonlySet<number>;
  /** Segments that could not be read now: a checkpoint must not claim to cover them. */
  readonly unread: ReadonlySet<number>;
  readonly warnings: string[];
}

/**
 * Recovery, second pass: fills the index from the checkpoint and from the footers of what the checkpoint does not
 * cover, oldest segment first, so that the newest record of a key wins: ids grow with time and a shard appends to
 * one segment at a time, so id and offset order the records of a key.
 */
export function loadIndex(context: ShardContext, request: LoadRequest): LoadedIndex {
  return new IndexLoading(context, request).run();
}

class IndexLoading {
  private readonly context: ShardContext;
  private readonly request: LoadRequest;
  /** Oldest first. */
  private readonly segments: readonly SegmentSummary[];
  private readonly warnings: string[] = [];
  private readonly shortened = new Set<number>();
  private readonly unread = new Set<number>();
  /** Memory of tables that were walked, for the next ones: a table takes megabytes, and a start reads hundreds. */
  private readonly spareMemory: Buffer[] = [];
  /** Of so many of the oldest segments the entries have made room for newer ones. */
  private emptiedCount = 0;
  /** So many found no room even so. */
  private leftOutCount = 0;

  constructor(context: ShardContext, request: LoadRequest) {
    this.context = context;
    this.request = request;
    this.segments = [...request.own, ...request.foreign].toSorted((a, b) => a.segmentId - b.segmentId);
  }

  run(): LoadedIndex {
    const { context, request, segments, warnings, shortened, unread } = this;
    const source = checkpointSource(context);
    const nonceOf = new Map(segments.map(({ segmentId, nonce }) => [segmentId, nonce]));
    const checkpoint = restoreCheckpoint(source, context.index, nonceOf, leaseSeconds(context.clock));
    if (checkpoint === undefined) {
      removeCheckpoint(source);
      context.index.reserve(countRecords(request.own) + countRecords(request.foreign) / context.shardCount);
    }
    let isReading = false;
    for (const { segmentId, nonce, endOffset } of segments) {
      const covered = checkpoint?.covered.get(segmentId);
      const coveredEnd = covered?.nonce === nonce ? covered.endOffset : 0;
      if (coveredEnd > endOffset) shortened.add(segmentId);
      const from = isReading ? 0 : coveredEnd;
      if (from >= endOffset) continue;
      // What is read lies over what the checkpoint gave, so every later segment must lie over it in turn: a segment
      // that a failed sync ended is covered up to less than it holds, while later ones are covered whole.
      isReading = true;
      this.load(segmentId, from);
    }
    if (this.emptiedCount + this.leftOutCount > 0) {
      warnings.push(
        `${NO_ROOM}: those of ${this.emptiedCount} old segments and ${this.leftOutCount} others were left out`,
      );
    }
    const fromCheckpoint = checkpoint?.entries ?? 0;
    return { fromCheckpoint, checkpointBytes: checkpoint?.fileBytes ?? 0, shortened, unread, warnings };
  }

  /** Publishes the records of a segment that start at `from` or behind it and belong to this shard. */
  private load(segmentId: number, from: number): void {
    try {
      this.visitRecords(segmentId, ({ offset, space, encoding, sizeBytes, storedBytes, owner }, words) => {
        if (offset < from) return;
        const location = { offset, space, encoding, sizeBytes, storedBytes, owner, segmentId };
        while (!this.context.index.publish(words, location, RESTORED)) {
          if (this.emptyOldest(segmentId)) continue;
          this.leftOutCount += 1;
          return;
        }
      });
    } catch (error) {
      // A segment that cannot be read is a miss for what it holds, not a reason to serve nothing (H8).
      this.unread.add(segmentId);
      this.warnings.push(`segment ${segmentId} could not be read: ${errorCode(error) ?? String(error)}`);
    }
  }

  /**
   * Takes the entries of the oldest segment out of an index that is too small for all (another shard count, less
   * memory): as in retirement the oldest go, and not those that were written last.
   * @param loadingId That segment and newer ones are left alone. @returns false where there is no older one.
   */
  private emptyOldest(loadingId: number): boolean {
    const oldest = this.segments[this.emptiedCount];
    if (oldest === undefined || oldest.segmentId >= loadingId) return false;
    this.emptiedCount += 1;
    const { index } = this.context;
    this.visitRecords(oldest.segmentId, ({ space }, words) => {
      if (index.find(words, space)?.segmentId === oldest.segmentId) index.remove(words, space);
    });
    return true;
  }

  /** @param visit Gets each record of this shard; what it gets is overwritten by the next one. */
  private visitRecords(
    segmentId: number,
    visit: (record: Omit<EntryLocation, "segmentId">, words: Int32Array) => void,
  ): void {
    const { fileSystem, segmentsDirectory, shardCount, shardIndex } = this.context;
    const fd = fileSystem.open(segmentPath(segmentsDirectory, segmentId), "read");
    try {
      const sealed = inspectSegment(fileSystem, fd);
      const table =
        sealed === undefined ? undefined : readFooterTable(fileSystem, fd, sealed.footer, this.spareMemory.pop());
      if (sealed !== undefined && table !== undefined) {
        const cursor = new FooterCursor(table);
        for (let row = 0; row < sealed.footer.rowCount; row += 1) {
          cursor.moveTo(row);
          if (shardOfKey(cursor.keyWords, shardCount) === shardIndex) visit(cursor, cursor.keyWords);
        }
        this.spareMemory.push(Buffer.from(table.buffer, table.byteOffset));
        return;
      }
      for (const record of recoverSegment(fileSystem, fd).records) {
        const words = keyWords(record.key);
        if (shardOfKey(words, shardCount) === shardIndex) visit(record, words);
      }
    } finally {
      fileSystem.close(fd);
    }
  }
}

const RESTORED = { verified: false, lastUseSeconds: 0 };

function countRecords(segments: readonly SegmentSummary[]): number {
  return segments.reduce((sum, { recordCount }) => sum + recordCount, 0);
}
