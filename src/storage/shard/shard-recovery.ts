import { type FileSystem, readFully, writeFully } from "../file-system.ts";
import { segmentPath } from "../segment/segment-file.ts";
import { encodeFooter, FOOTER_ROW_BYTES, FOOTER_TAIL_BYTES, FORMAT_VERSION } from "../segment/segment-format.ts";
import {
  inspectSegment,
  readSegmentHeader,
  type RecoveredSegment,
  recoverSegment,
} from "../segment/segment-recovery.ts";
import { SegmentWriter } from "../segment/segment-writer.ts";
import type { LoadedIndex } from "./index-loading.ts";
import type { ShardContext } from "./shard-context.ts";
import type { LoadRequest, RecoverRequest, RecoverResult, SegmentSummary } from "./shard-protocol.ts";
import { isDiskFull } from "./write-failure.ts";

/**
 * Recovery, first pass: makes each given segment file whole, so that every shard can read it afterwards. Torn tails
 * are cut, missing footers written, files that hold nothing removed. Sealed segments cost two small reads.
 * @throws {UnknownFormatVersionError}
 */
export function recoverSegments(context: ShardContext, { segmentIds, ownOnly }: RecoverRequest): RecoverResult {
  const segments: SegmentSummary[] = [];
  const warnings: string[] = [];
  // The process before may have been killed between making a segment and making its name durable (H2).
  context.fileSystem.syncDirectory(context.segmentsDirectory);
  for (const segmentId of segmentIds) {
    if (ownOnly && !isOwn(context, segmentId)) continue;
    const summary = recoverOne(context, segmentId, warnings);
    if (summary !== undefined) segments.push(summary);
  }
  return { segments, warnings };
}

function isOwn(context: ShardContext, segmentId: number): boolean {
  const { fileSystem, segmentsDirectory, shardIndex, shardCount } = context;
  const header = readSegmentHeader(fileSystem, segmentPath(segmentsDirectory, segmentId));
  return header?.shardIndex === shardIndex && header.shardCount === shardCount;
}

function recoverOne(context: ShardContext, segmentId: number, warnings: string[]): SegmentSummary | undefined {
  const { fileSystem, segmentsDirectory, stats } = context;
  const path = segmentPath(segmentsDirectory, segmentId);
  const fd = fileSystem.open(path, "update");
  try {
    const sealed = inspectSegment(fileSystem, fd);
    if (sealed !== undefined && sealed.footer.rowCount > 0) {
      const { header, footer, fileBytes } = sealed;
      return {
        ...header,
        segmentId,
        recordCount: footer.rowCount,
        endOffset: footer.tableOffset,
        maxSequence: footer.maxSequence,
        accountedBytes: fileBytes,
      };
    }
    const recovered = recoverSegment(fileSystem, fd);
    const { records, endOffset, fileBytes, corruptStretches } = recovered;
    if (corruptStretches > 0) {
      stats.add("corruptStretches", corruptStretches);
      warnings.push(`segment ${segmentId}: stepped over ${corruptStretches} damaged stretches`);
    }
    if (records.length === 0) {
      fileSystem.remove(path);
      return undefined;
    }
    const cut = fileBytes - endOffset;
    warnings.push(`segment ${segmentId} was not sealed: kept ${records.length} records, cut ${cut} bytes behind them`);
    fileSystem.truncate(fd, endOffset);
    try {
      writeAnew(fileSystem, fd, endOffset);
      // Before the footer, see SegmentWriter.seal.
      fileSystem.syncData(fd);
      writeFully(fileSystem, fd, [encodeFooter(records, endOffset, recovered.nonce)], endOffset);
    } catch (error) {
      // A full disk is no reason not to serve (H7): whoever reads the file scans it, as was done just now.
      if (!isDiskFull(error)) throw error;
      fileSystem.truncate(fd, endOffset);
      warnings.push(`segment ${segmentId} stays without a footer: the disk is full`);
    }
    fileSystem.syncData(fd);
    return summarize(segmentId, recovered);
  } finally {
    fileSystem.close(fd);
  }
}

/**
 * Writes the bytes of a file over themselves. What was read may stand in the page cache only, on pages that a failed
 * sync has marked clean (H5): no later sync would write them, and what they hold is about to be served.
 */
function writeAnew(fileSystem: FileSystem, fd: number, bytes: number): void {
  const chunk = Buffer.allocUnsafe(Math.min(REWRITE_BYTES, bytes));
  for (let at = 0; at < bytes; at += chunk.length) {
    const piece = chunk.subarray(0, readFully(fileSystem, fd, chunk.subarray(0, bytes - at), at));
    writeFully(fileSystem, fd, [piece], at);
  }
}

const REWRITE_BYTES = 1024 * 1024;

function summarize(segmentId: number, { header, nonce, records, endOffset }: RecoveredSegment): SegmentSummary {
  return {
    segmentId,
    nonce,
    createdAtMs: header?.createdAtMs ?? 0,
    shardIndex: header?.shardIndex ?? -1,
    shardCount: header?.shardCount ?? 0,
    recordCount: records.length,
    endOffset,
    maxSequence: records.reduce((max, record) => Math.max(max, record.sequence), 0),
    accountedBytes: endOffset + records.length * FOOTER_ROW_BYTES + FOOTER_TAIL_BYTES,
  };
}

/**
 * Goes on appending to the shard's newest segment while it is less than half full, so that restarts do not leave
 * many small ones. Only the newest of those that may hold its keys may grow: else id and offset would no longer order the
 * records of a key. Nor may one that the checkpoint knew longer, because the next start would take what is appended now for
 * covered; nor one that could not be read, because it would take what it holds for covered, and nobody has that in an index.
 * Nor one of an earlier version, whose header says nothing of what this one would write behind it.
 */
export function resumeNewest(
  context: ShardContext,
  request: LoadRequest,
  { shortened, unread }: LoadedIndex,
): SegmentWriter | undefined {
  const { fileSystem, segmentsDirectory, segmentBytesMax } = context;
  const newest = [...request.own, ...request.foreign].toSorted((a, b) => b.segmentId - a.segmentId)[0];
  if (newest === undefined || !request.own.includes(newest) || newest.endOffset > segmentBytesMax / 2) return undefined;
  if (shortened.has(newest.segmentId) || unread.has(newest.segmentId)) return undefined;
  const fd = fileSystem.open(segmentPath(segmentsDirectory, newest.segmentId), "read");
  let recovered: RecoveredSegment;
  try {
    recovered = recoverSegment(fileSystem, fd);
  } finally {
    fileSystem.close(fd);
  }
  const { header, records, endOffset } = recovered;
  // The footer is cut with the first append, so the records must be known to the last one.
  if (header?.version !== FORMAT_VERSION || records.length !== newest.recordCount) return undefined;
  return SegmentWriter.resume(fileSystem, segmentsDirectory, header, records, endOffset);
}
