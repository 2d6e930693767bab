import { keyWords } from "../../cache/key-words.ts";
import { readFully, removeQuietly, writeFully } from "../file-system.ts";
import { type EntryLocation } from "../index/index-layout.ts";
import { leaseSeconds } from "../lease-clock.ts";
import {
  type ChunkChecksums,
  encodeFooter,
  encodeRecordHeader,
  encodeSegmentHeader,
  FORMAT_VERSION,
  type PlacedRecord,
  RECORD_HEADER_BYTES,
  recordFootprintBytes,
  SEGMENT_HEADER_BYTES,
  SEGMENT_OVERHEAD_BYTES,
} from "../segment/segment-format.ts";
import { segmentPath } from "../segment/segment-file.ts";
import type { ShardContext } from "./shard-context.ts";
import type { PutOutcome, PutRequest } from "./shard-protocol.ts";
import type { ShardSegments } from "./shard-segments.ts";
import { CHECK_SLICE_BYTES, ValueCheck } from "./value-check.ts";
import { writeFailure } from "./write-failure.ts";

/** Where the payload starts in a temp file: behind room for both headers, so that the file can become a segment. */
export const ADOPTED_PAYLOAD_OFFSET = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES;

/** What an adopted file takes on disk; reserved before it is staged. */
export function adoptedFileBytes(payloadBytes: number): number {
  return SEGMENT_OVERHEAD_BYTES + recordFootprintBytes(payloadBytes);
}

/** What a temp file takes on disk that is going to be copied. */
export function stagingFileBytes(payloadBytes: number): number {
  return ADOPTED_PAYLOAD_OFFSET + payloadBytes;
}

/** Hash and checksum find what was just read in the processor's cache. */
const PIECE_BYTES = 256 * 1024;

/**
 * Makes a closed temp file a segment of its own: its payload is hashed in place, headers and footer are written
 * around it, it is synced, renamed and published. The bytes are never copied. A generator, so that the shard's
 * group commits run between its slices; a sync per slice keeps the last one short.
 */
export function* adoptFile(
  context: ShardContext,
  segments: ShardSegments,
  request: PutRequest,
  sequence: number,
): Generator<undefined, PutOutcome> {
  const { source } = request;
  if (source.kind !== "file") throw new TypeError("only a temp file can be adopted");
  const outcome = yield* attempt(context, segments, request, source.path, sequence);
  if (outcome.status !== "stored") {
    removeQuietly(context.fileSystem, source.path);
    context.ledger.release(adoptedFileBytes(request.stagedBytes));
    context.stats.add(outcome.status === "present" ? "presentPuts" : "rejectedPuts");
  } else {
    context.stats.add("adoptedFiles");
  }
  return outcome;
}

function* attempt(
  context: ShardContext,
  segments: ShardSegments,
  request: PutRequest,
  path: string,
  sequence: number,
): Generator<undefined, PutOutcome> {
  const { fileSystem, index, stats, clock } = context;
  const words = keyWords(request.key);
  const isPresent = (): boolean => request.contentAddressed && index.find(words, request.space) !== undefined;
  if (isPresent()) return { status: "present" };
  let fd: number | undefined;
  try {
    fd = fileSystem.open(path, "update");
    const payloadBytes = fileSystem.sizeOf(fd) - ADOPTED_PAYLOAD_OFFSET;
    if (payloadBytes !== request.stagedBytes) {
      return invalid(`size: expected ${request.stagedBytes} bytes, got ${payloadBytes}`);
    }
    using check = new ValueCheck(request);
    const mismatch = yield* checkInSlices(context, fd, request, check);
    if (mismatch !== undefined) return invalid(mismatch);
    const { checksums } = check;
    // Slices of another upload of the same blob may have run in between.
    if (isPresent()) return { status: "present" };
    // Before the file becomes a segment: one that is not in the index would take another's entry at a start.
    const known = index.find(words, request.space);
    if (known === undefined && index.freeCount === 0) {
      return { status: "failed", code: "storage_full", message: "the index has no room for another entry" };
    }
    // An adopted segment stands outside of the append order, which at a start decides between records of one key:
    // what is appended after it must come to lie in a later segment.
    if (!request.contentAddressed) segments.seal();
    const location = frame(context, fd, request, sequence, checksums);
    const syncStartMs = clock.monotonicMs();
    fileSystem.syncData(fd);
    stats.countSync((clock.monotonicMs() - syncStartMs) / 1000);
    moveDurably(context, path, location.segmentId);
    segments.hold(location.segmentId, {
      nonce: location.nonce,
      endOffset: location.endOffset,
      createdAtMs: context.clock.wallMs(),
      accountedBytes: adoptedFileBytes(request.stagedBytes),
      heldSinceSeconds: leaseSeconds(context.clock),
    });
    stats.add("appendedRecords");
    stats.add("appendedBytes", adoptedFileBytes(request.stagedBytes));
    // A value that replaces another one takes over its lease.
    index.publish(words, location, { verified: true, lastUseSeconds: known?.lastUseSeconds ?? 0 });
    return { status: "stored" };
  } catch (error) {
    stats.add("writeFailures");
    return { status: "failed", ...writeFailure(error) };
  } finally {
    if (fd !== undefined) fileSystem.close(fd);
  }
}

/** @returns what is wrong with the contents, or undefined. */
function* checkInSlices(
  context: ShardContext,
  fd: number,
  request: PutRequest,
  check: ValueCheck,
): Generator<undefined, string | undefined> {
  const { stagedBytes } = request;
  const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, stagedBytes));
  for (let at = 0; at < stagedBytes; at += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, stagedBytes - at));
    const bytes = readFully(context.fileSystem, fd, piece, ADOPTED_PAYLOAD_OFFSET + at);
    if (bytes < piece.length) return `size: expected ${stagedBytes} bytes, got ${at + bytes}`;
    const wrong = yield* check.takeInSlices(piece);
    if (wrong !== undefined) return wrong;
    const end = at + piece.length;
    if (end % CHECK_SLICE_BYTES > 0 && end < stagedBytes) continue;
    if (context.durability === "commit") context.fileSystem.syncData(fd);
    yield;
  }
  return check.mismatch();
}

/** Gives the file its name among the segments. Where that cannot be made durable the file is removed again. */
function moveDurably({ fileSystem, segmentsDirectory }: ShardContext, path: string, segmentId: number): void {
  const segment = segmentPath(segmentsDirectory, segmentId);
  fileSystem.rename(path, segment);
  try {
    fileSystem.syncDirectory(segmentsDirectory);
  } catch (error) {
    removeQuietly(fileSystem, segment);
    throw error;
  }
}

/** Writes segment header, record header, trailer and footer around the payload. */
function frame(
  context: ShardContext,
  fd: number,
  request: PutRequest,
  sequence: number,
  checksums: ChunkChecksums,
): EntryLocation & { nonce: number; endOffset: number } {
  const { fileSystem, shardIndex, shardCount, clock } = context;
  const nonce = context.randomWord();
  const segmentId = context.assignment.takeSegmentId();
  const record: PlacedRecord = {
    space: request.space,
    encoding: request.encoding,
    sequence,
    writtenAtMs: clock.wallMs(),
    sizeBytes: request.sizeBytes,
    storedBytes: request.stagedBytes,
    owner: request.owner,
    key: request.key,
    offset: SEGMENT_HEADER_BYTES,
  };
  const identity = { version: FORMAT_VERSION, segmentId, shardIndex, shardCount, createdAtMs: clock.wallMs(), nonce };
  writeFully(fileSystem, fd, [encodeSegmentHeader(identity), encodeRecordHeader(record, nonce)], 0);
  const payloadEnd = ADOPTED_PAYLOAD_OFFSET + request.stagedBytes;
  const trailer = checksums.trailer(request.stagedBytes);
  writeFully(fileSystem, fd, [trailer, encodeFooter([record], payloadEnd + trailer.length, nonce)], payloadEnd);
  return { ...record, segmentId, nonce, endOffset: payloadEnd + trailer.length };
}

function invalid(message: string): PutOutcome {
  return { status: "failed", code: "invalid_argument", message };
}
