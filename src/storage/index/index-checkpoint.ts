import { join } from "node:path";
import { crc32 } from "node:zlib";
import { type FileSystem, readFully, removeIfThere, removeQuietly, writeFully } from "../file-system.ts";
import { ENTRY_BYTES, ENTRY_LAST_USE, ENTRY_PACKED, ENTRY_SEGMENT, ENTRY_WORDS } from "./index-layout.ts";
import type { IndexWriter } from "./index-writer.ts";

/**
 * A shard's part of the index as it was some time ago, all integers little-endian.
 *
 *   ┌───────────┬───────────────────┬──────────────────────┬─ … ─┬──────────────────────┐
 *   │ header 48 │ segment rows 16 · n │ 16384 entries · CRC │     │ last entries · CRC   │
 *   └───────────┴───────────────────┴──────────────────────┴─ … ─┴──────────────────────┘
 *
 *   header       0 magic "KURACKPT" · 8 version u32 · 12 shard u32 · 16 shard count u32 · 20 segment rows u32
 *               24 entry rows u32 · 28 saved at (engine seconds) u32 · 32 zeros · 44 CRC-32 of 0..43 and the segment rows
 *   segment row  0 segment id u32 · 4 nonce u32 · 8 covered up to (offset) u64
 *   entry        as in shared memory, see index-layout.ts
 *
 * It is written while the shard works on (a fuzzy checkpoint). That is sound because the segment table is taken
 * first and entries after: whatever changes in between lies in a record behind the covered offset of its segment,
 * or in a segment that the table does not list, and is read again from the footers, in order, over what was
 * restored. Entries whose segment is gone by then are dropped. Derived data: any doubt and it is not used (H3).
 */
const MAGIC = Buffer.from("KURACKPT");
const VERSION = 1;
const HEADER_BYTES = 48;
const SEGMENT_ROW_BYTES = 16;
const ROWS_PER_BLOCK = 16_384;
const BLOCK_BYTES = ROWS_PER_BLOCK * ENTRY_BYTES;

export interface CoveredSegment {
  readonly segmentId: number;
  readonly nonce: number;
  /** Records before this offset are in the checkpoint. */
  readonly endOffset: number;
}

export interface CheckpointSource {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly shardIndex: number;
  readonly shardCount: number;
}

function checkpointPath({ directory, shardIndex }: CheckpointSource): string {
  return join(directory, checkpointFileName(shardIndex));
}

export function checkpointFileName(shardIndex: number): string {
  return `shard-${shardIndex}.ckpt`;
}

/** Size of a checkpoint file: what must be reserved before one is written. */
export function checkpointBytes(entryRows: number, segmentRows: number): number {
  const blocks = Math.ceil(entryRows / ROWS_PER_BLOCK);
  return HEADER_BYTES + segmentRows * SEGMENT_ROW_BYTES + entryRows * ENTRY_BYTES + blocks * 4;
}

/**
 * Writes a checkpoint beside the old one, syncs it and puts it in its place. Yields between blocks.
 * @param syncRecords Makes every record that a saved entry may point to durable; called before the rename.
 * @returns the size of the file.
 */
export function* saveCheckpoint(
  source: CheckpointSource,
  index: IndexWriter,
  covered: readonly CoveredSegment[],
  savedAtSeconds: number,
  syncRecords: () => void,
): Generator<undefined, number> {
  const { fileSystem } = source;
  const path = checkpointPath(source);
  const temporary = `${path}.new`;
  removeIfThere(fileSystem, temporary);
  const fd = fileSystem.open(temporary, "create");
  let position = 0;
  try {
    const rowCount = index.rowCount;
    const head = encodeHead(source, covered, rowCount, savedAtSeconds);
    writeFully(fileSystem, fd, [head], 0);
    position = head.length;
    for (let row = 0; row < rowCount; row += ROWS_PER_BLOCK) {
      // Copied: the checksum must be of the very bytes that are written, and readers renew leases at any moment.
      const rows = Int32Array.from(index.rows(row, Math.min(rowCount, row + ROWS_PER_BLOCK)));
      const block = new Uint8Array(rows.buffer);
      const crc = Buffer.alloc(4);
      crc.writeUInt32LE(crc32(block));
      writeFully(fileSystem, fd, [block, crc], position);
      position += block.length + 4;
      yield;
    }
    syncRecords();
    fileSystem.syncData(fd);
    fileSystem.rename(temporary, path);
  } catch (error) {
    removeQuietly(fileSystem, temporary);
    throw error;
  } finally {
    fileSystem.close(fd);
  }
  try {
    fileSystem.syncDirectory(source.directory);
  } catch {
    // After a power cut the old one may be found, or none: that costs time only.
  }
  return position;
}

/** What a checkpoint gave. */
export interface RestoredCheckpoint {
  readonly covered: ReadonlyMap<number, CoveredSegment>;
  readonly entries: number;
  readonly fileBytes: number;
}

/**
 * Removes a checkpoint that could not be used, so that the disk holds what the ledger counts. For good, also where somebody else
 * has removed it: one that came back with a power cut would cover what was appended in the place of a damaged tail.
 */
export function removeCheckpoint(source: CheckpointSource): void {
  removeIfThere(source.fileSystem, checkpointPath(source));
  source.fileSystem.syncDirectory(source.directory);
}

/**
 * Restores the entries of a checkpoint whose segments are still there with the same nonce.
 * @param nonceOf Of the segments that are on disk now.
 * @returns undefined where there is none, or it is damaged or of another layout; entries restored before the damage
 * was seen are good ones, and reading every footer then completes and corrects them.
 */
export function restoreCheckpoint(
  source: CheckpointSource,
  index: IndexWriter,
  nonceOf: ReadonlyMap<number, number>,
  nowSeconds: number,
): RestoredCheckpoint | undefined {
  const { fileSystem } = source;
  let fd: number;
  try {
    fd = fileSystem.open(checkpointPath(source), "read");
  } catch {
    return undefined;
  }
  try {
    const head = readHead(source, fd);
    // Of one that is larger than the index nobody could say what is left out.
    if (head === undefined || head.entryRows > index.entryCountMax) return undefined;
    const alive = new Set<number>();
    for (const { segmentId, nonce } of head.covered.values())
      if (nonceOf.get(segmentId) === nonce) alive.add(segmentId);
    index.reserve(head.entryRows);
    let position = head.bytes;
    const block = new Int32Array(BLOCK_BYTES / 4 + 1);
    for (let row = 0; row < head.entryRows; row += ROWS_PER_BLOCK) {
      const rows = Math.min(ROWS_PER_BLOCK, head.entryRows - row);
      const bytes = new Uint8Array(block.buffer, 0, rows * ENTRY_BYTES + 4);
      if (readFully(fileSystem, fd, bytes, position) < bytes.length) return undefined;
      const crc = new DataView(block.buffer).getUint32(rows * ENTRY_BYTES, true);
      if (crc32(bytes.subarray(0, rows * ENTRY_BYTES)) !== crc) return undefined;
      restoreRows(index, block, rows, alive, nowSeconds - head.savedAtSeconds);
      position += bytes.length;
    }
    return { covered: head.covered, entries: index.liveCount, fileBytes: position };
  } catch {
    // Unreadable is as good as lost (H3).
    return undefined;
  } finally {
    fileSystem.close(fd);
  }
}

/** @param agoShift Added to the times of last use: the clock's zero differs from process to process. */
function restoreRows(index: IndexWriter, block: Int32Array, rows: number, alive: Set<number>, agoShift: number): void {
  for (let at = 0; at < rows * ENTRY_WORDS; at += ENTRY_WORDS) {
    // A zero packed word is a row that was free: every key space in use has a number above 0.
    if (block[at + ENTRY_PACKED] === 0 || !alive.has((block[at + ENTRY_SEGMENT] ?? 0) >>> 0)) continue;
    const lastUse = block[at + ENTRY_LAST_USE] ?? 0;
    index.restoreRow(block, at, lastUse === 0 ? 0 : lastUse + agoShift);
  }
}

function encodeHead(
  source: CheckpointSource,
  covered: readonly CoveredSegment[],
  entryRows: number,
  savedAtSeconds: number,
): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + covered.length * SEGMENT_ROW_BYTES);
  MAGIC.copy(bytes, 0);
  for (const [i, word] of [
    VERSION,
    source.shardIndex,
    source.shardCount,
    covered.length,
    entryRows,
    savedAtSeconds,
  ].entries()) {
    bytes.writeUInt32LE(word, 8 + i * 4);
  }
  for (const [i, { segmentId, nonce, endOffset }] of covered.entries()) {
    const at = HEADER_BYTES + i * SEGMENT_ROW_BYTES;
    bytes.writeUInt32LE(segmentId, at);
    bytes.writeUInt32LE(nonce, at + 4);
    bytes.writeBigUInt64LE(BigInt(endOffset), at + 8);
  }
  bytes.writeUInt32LE(headCrc(bytes), HEADER_BYTES - 4);
  return bytes;
}

function headCrc(bytes: Buffer): number {
  return crc32(bytes.subarray(HEADER_BYTES), crc32(bytes.subarray(0, HEADER_BYTES - 4)));
}

function readHead(
  source: CheckpointSource,
  fd: number,
): { covered: Map<number, CoveredSegment>; entryRows: number; savedAtSeconds: number; bytes: number } | undefined {
  const { fileSystem, shardIndex, shardCount } = source;
  const fixed = Buffer.alloc(HEADER_BYTES);
  if (readFully(fileSystem, fd, fixed, 0) < HEADER_BYTES || !fixed.subarray(0, 8).equals(MAGIC)) return undefined;
  const [version, index, count, segmentRows, entryRows, savedAtSeconds] = [0, 1, 2, 3, 4, 5].map((i) =>
    fixed.readUInt32LE(8 + i * 4),
  ) as [number, number, number, number, number, number];
  if (version !== VERSION || index !== shardIndex || count !== shardCount) return undefined;
  if (checkpointBytes(entryRows, segmentRows) !== fileSystem.sizeOf(fd)) return undefined;
  const bytes = Buffer.alloc(HEADER_BYTES + segmentRows * SEGMENT_ROW_BYTES);
  if (readFully(fileSystem, fd, bytes, 0) < bytes.length) return undefined;
  if (headCrc(bytes) !== bytes.readUInt32LE(HEADER_BYTES - 4)) return undefined;
  const covered = new Map<number, CoveredSegment>();
  for (let at = HEADER_BYTES; at < bytes.length; at += SEGMENT_ROW_BYTES) {
    const segmentId = bytes.readUInt32LE(at);
    covered.set(segmentId, {
      segmentId,
      nonce: bytes.readUInt32LE(at + 4),
      endOffset: Number(bytes.readBigUInt64LE(at + 8)),
    });
  }
  return { covered, entryRows, savedAtSeconds, bytes: bytes.length };
}
