import { crc32 } from "node:zlib";

/**
 * Segment files, all integers little-endian. A segment is a header, records, and once sealed a footer that lists
 * the records so that a start need not read them.
 *
 *   ┌────────────┬────────┬────────┬─ … ─┬──────────────┬─────────────┐
 *   │ header 64  │ record │ record │     │ footer table │ footer tail │
 *   └────────────┴────────┴────────┴─ … ─┴──────────────┴─────────────┘
 *
 *   segment header   0 magic "KURASEG1" · 8 version u32 · 12 segment id u32 · 16 shard u32 · 20 shard count u32
 *                   24 created at ms u64 · 32 nonce u32 · 36 zeros · 60 CRC-32 of 0..59
 *
 *   record           header 80 · payload · CRC-32 of each 256 KiB chunk of the payload (at least one) · zeros to 8
 *   record header    0 magic "KREC" · 4 version u8 · 5 space u8 · 6 encoding u8 · 7 zero · 8 sequence u48
 *                   14 owner u16 · 16 written at ms u64 · 24 size u64 · 32 stored bytes u64 · 40 key 32 bytes
 *                   72 nonce u32 · 76 CRC-32 of 0..75
 *
 *   footer row 72    0 offset u64 · 8 sequence u64 · 16 size u64 · 24 stored bytes u64 · 32 space u8 · 33 encoding u8
 *                   34 owner u16 · 36 zeros · 40 key 32 bytes
 *   footer tail 40   0 magic "KURAFOOT" · 8 rows u32 · 12 CRC-32 of the rows u32 · 16 table offset u64
 *                   24 highest sequence u64 · 32 nonce u32 · 36 CRC-32 of 0..35
 *
 * The nonce is drawn at random for each segment and stands in each of its records and in its footer: neither a scan
 * for the next record behind damage nor a file that was torn in the middle of a payload may take bytes that a client
 * uploaded (a blob may hold a whole segment file) for a record or a footer.
 * Chunks have checksums of their own so that a range of a large blob is verified by reading that range.
 *
 * Version 1 had no owners, and zeros in their place: what is read of it is nobody's.
 */
export const FORMAT_VERSION = 2;
const FORMAT_VERSION_MIN = 1;
export const SEGMENT_HEADER_BYTES = 64;
export const RECORD_HEADER_BYTES = 80;
export const FOOTER_ROW_BYTES = 72;
export const FOOTER_TAIL_BYTES = 40;
export const CHUNK_BYTES = 256 * 1024;
const KEY_BYTES = 32;

const SEGMENT_MAGIC = Buffer.from("KURASEG1");
const RECORD_MAGIC = 0x4345524b; // "KREC"
const FOOTER_MAGIC = Buffer.from("KURAFOOT");
/** Of a sequence number, more than a store can ever write. */
const SEQUENCE_BYTES = 6;

export interface SegmentHeader {
  readonly version: number;
  readonly segmentId: number;
  readonly shardIndex: number;
  readonly shardCount: number;
  readonly createdAtMs: number;
  readonly nonce: number;
}

export interface RecordHeader {
  readonly space: number;
  readonly encoding: number;
  /** Orders records of one key: the highest is the one that counts. Unique within a shard. */
  readonly sequence: number;
  readonly writtenAtMs: number;
  readonly sizeBytes: number;
  readonly storedBytes: number;
  /** Whose account it is on, 0: nobody's. */
  readonly owner: number;
  readonly key: Uint8Array;
}

/** A decoded record header with the nonce that says to which segment it belongs. */
export interface DecodedRecordHeader extends RecordHeader {
  readonly nonce: number;
}

/** A record and where its header starts in the segment. */
export interface PlacedRecord extends RecordHeader {
  readonly offset: number;
}

export interface SegmentFooter {
  readonly rowCount: number;
  readonly tableCrc: number;
  readonly tableOffset: number;
  readonly maxSequence: number;
  /** That of the segment, or these are not its last bytes. */
  readonly nonce: number;
}

/** Whether this build reads segments and records of that version. */
export function isReadableVersion(version: number): boolean {
  return version >= FORMAT_VERSION_MIN && version <= FORMAT_VERSION;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  SEGMENT_MAGIC.copy(bytes, 0);
  bytes.writeUInt32LE(header.version, 8);
  bytes.writeUInt32LE(header.segmentId, 12);
  bytes.writeUInt32LE(header.shardIndex, 16);
  bytes.writeUInt32LE(header.shardCount, 20);
  writeUint64(bytes, header.createdAtMs, 24);
  bytes.writeUInt32LE(header.nonce, 32);
  return sealCrc(bytes);
}

/** @returns undefined where the bytes are not a segment header; a header of another version is returned as it is. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return undefined;
  const header = bytes.subarray(0, SEGMENT_HEADER_BYTES);
  if (!header.subarray(0, 8).equals(SEGMENT_MAGIC) || !crcHolds(header)) return undefined;
  if (isReadableVersion(header.readUInt32LE(8)) && !isZero(header, 36, 60)) return undefined;
  return {
    version: header.readUInt32LE(8),
    segmentId: header.readUInt32LE(12),
    shardIndex: header.readUInt32LE(16),
    shardCount: header.readUInt32LE(20),
    createdAtMs: readUint64(header, 24),
    nonce: header.readUInt32LE(32),
  };
}

export function encodeRecordHeader(record: RecordHeader, nonce: number): Buffer {
  return encodeRecordHeaderInto(Buffer.alloc(RECORD_HEADER_BYTES), record, nonce);
}

/** @param bytes RECORD_HEADER_BYTES of them, of any contents. */
export function encodeRecordHeaderInto(bytes: Buffer, record: RecordHeader, nonce: number): Buffer {
  bytes.writeUInt32LE(RECORD_MAGIC, 0);
  bytes[4] = FORMAT_VERSION;
  bytes[5] = record.space;
  bytes[6] = record.encoding;
  bytes[7] = 0;
  bytes.writeUIntLE(record.sequence, 8, SEQUENCE_BYTES);
  bytes.writeUInt16LE(record.owner, 14);
  writeUint64(bytes, record.writtenAtMs, 16);
  writeUint64(bytes, record.sizeBytes, 24);
  writeUint64(bytes, record.storedBytes, 32);
  bytes.set(record.key, 40);
  bytes.writeUInt32LE(nonce, 72);
  return sealCrc(bytes);
}

/** @returns undefined where the bytes are not a whole, valid record header. */
export function decodeRecordHeader(bytes: Buffer): DecodedRecordHeader | undefined {
  if (bytes.length < RECORD_HEADER_BYTES || bytes.readUInt32LE(0) !== RECORD_MAGIC) return undefined;
  const header = bytes.subarray(0, RECORD_HEADER_BYTES);
  if (!crcHolds(header) || !isReadableVersion(header[4] ?? 0) || header[7] !== 0) return undefined;
  const sizeBytes = readUint64(header, 24);
  const storedBytes = readUint64(header, 32);
  if (!Number.isSafeInteger(sizeBytes) || !Number.isSafeInteger(storedBytes)) return undefined;
  return {
    space: header[5] ?? 0,
    encoding: header[6] ?? 0,
    sequence: header.readUIntLE(8, SEQUENCE_BYTES),
    writtenAtMs: readUint64(header, 16),
    sizeBytes,
    storedBytes,
    owner: header.readUInt16LE(14),
    key: Uint8Array.from(header.subarray(40, 40 + KEY_BYTES)),
    nonce: header.readUInt32LE(72),
  };
}

export function chunkCount(storedBytes: number): number {
  return Math.max(1, Math.ceil(storedBytes / CHUNK_BYTES));
}

/** Bytes after the payload: the chunks' checksums and the padding that brings the next record to a multiple of 8. */
export function recordTrailerBytes(storedBytes: number): number {
  const unpadded = RECORD_HEADER_BYTES + storedBytes + chunkCount(storedBytes) * 4;
  return chunkCount(storedBytes) * 4 + ((8 - (unpadded % 8)) % 8);
}

/** Bytes that a record takes in its segment. */
export function recordBytes(storedBytes: number): number {
  return RECORD_HEADER_BYTES + storedBytes + recordTrailerBytes(storedBytes);
}

/** Bytes that a record takes on disk in all, its footer row included: what an upload reserves. */
export function recordFootprintBytes(storedBytes: number): number {
  return recordBytes(storedBytes) + FOOTER_ROW_BYTES;
}

/** Bytes of a segment without its records: what opening one costs. */
export const SEGMENT_OVERHEAD_BYTES = SEGMENT_HEADER_BYTES + FOOTER_TAIL_BYTES;

/** Takes a payload in pieces of any size and gives the checksums of its chunks. */
export class ChunkChecksums {
  private readonly finished: number[] = [];
  private crc = 0;
  private bytesInChunk = 0;

  update(piece: Uint8Array): void {
    let at = 0;
    while (at < piece.byteLength) {
      const take = Math.min(CHUNK_BYTES - this.bytesInChunk, piece.byteLength - at);
      this.crc = crc32(take === piece.byteLength ? piece : piece.subarray(at, at + take), this.crc);
      this.bytesInChunk += take;
      at += take;
      if (this.bytesInChunk === CHUNK_BYTES) this.endChunk();
    }
  }

  /** The record's trailer, padding included. */
  trailer(storedBytes: number): Buffer {
    return this.trailerInto(Buffer.alloc(recordTrailerBytes(storedBytes)));
  }

  /** @param bytes as many as the trailer has, of any contents. */
  trailerInto(bytes: Buffer): Buffer {
    if (this.bytesInChunk > 0 || this.finished.length === 0) this.endChunk();
    bytes.fill(0, this.finished.length * 4);
    for (const [chunk, crc] of this.finished.entries()) bytes.writeUInt32LE(crc, chunk * 4);
    return bytes;
  }

  private endChunk(): void {
    this.finished.push(this.crc);
    this.crc = 0;
    this.bytesInChunk = 0;
  }
}

/** Whether the bytes of one chunk match its checksum in the record's trailer. */
export function chunkHolds(chunk: Uint8Array, trailer: Buffer, chunkIndex: number): boolean {
  return crc32(chunk) === trailer.readUInt32LE(chunkIndex * 4);
}

/** The rows of a footer to come, encoded as they are added: a segment of small records has hundreds of thousands. */
export class FooterRows {
  private table = Buffer.alloc(64 * FOOTER_ROW_BYTES);
  private rowCount = 0;
  private maxSequence = 0;

  constructor(records: Iterable<PlacedRecord> = []) {
    for (const record of records) this.add(record);
  }

  get count(): number {
    return this.rowCount;
  }

  add(record: PlacedRecord): void {
    const at = this.rowCount * FOOTER_ROW_BYTES;
    if (at === this.table.length) this.table = Buffer.concat([this.table], this.table.length * 2);
    encodeFooterRow(record, this.table, at);
    this.rowCount += 1;
    this.maxSequence = Math.max(this.maxSequence, record.sequence);
  }

  /** The whole footer of a segment whose records end at `tableOffset`. */
  encode(tableOffset: number, nonce: number): Buffer {
    const rows = this.table.subarray(0, this.rowCount * FOOTER_ROW_BYTES);
    const tail = Buffer.alloc(FOOTER_TAIL_BYTES);
    FOOTER_MAGIC.copy(tail, 0);
    tail.writeUInt32LE(this.rowCount, 8);
    tail.writeUInt32LE(crc32(rows), 12);
    writeUint64(tail, tableOffset, 16);
    writeUint64(tail, this.maxSequence, 24);
    tail.writeUInt32LE(nonce, 32);
    return Buffer.concat([rows, sealCrc(tail)]);
  }
}

export function encodeFooter(records: readonly PlacedRecord[], tableOffset: number, nonce: number): Buffer {
  return new FooterRows(records).encode(tableOffset, nonce);
}

/** @param tail The last FOOTER_TAIL_BYTES of a file. @returns undefined where the file is not sealed. */
export function decodeFooterTail(tail: Buffer): SegmentFooter | undefined {
  if (tail.length !== FOOTER_TAIL_BYTES || !tail.subarray(0, 8).equals(FOOTER_MAGIC) || !crcHolds(tail))
    return undefined;
  return {
    rowCount: tail.readUInt32LE(8),
    tableCrc: tail.readUInt32LE(12),
    tableOffset: readUint64(tail, 16),
    maxSequence: readUint64(tail, 24),
    nonce: tail.readUInt32LE(32),
  };
}

function encodeFooterRow(record: PlacedRecord, bytes: Buffer, at: number): void {
  writeUint64(bytes, record.offset, at);
  writeUint64(bytes, record.sequence, at + 8);
  writeUint64(bytes, record.sizeBytes, at + 16);
  writeUint64(bytes, record.storedBytes, at + 24);
  bytes[at + 32] = record.space;
  bytes[at + 33] = record.encoding;
  bytes.writeUInt16LE(record.owner, at + 34);
  bytes.set(record.key, at + 40);
}

/** Decodes one row of a footer table whose checksum holds; `writtenAtMs` is not in the footer and is 0. */
export function decodeFooterRow(table: Buffer, row: number): PlacedRecord {
  const at = row * FOOTER_ROW_BYTES;
  return {
    offset: readUint64(table, at),
    sequence: readUint64(table, at + 8),
    sizeBytes: readUint64(table, at + 16),
    storedBytes: readUint64(table, at + 24),
    space: table[at + 32] ?? 0,
    encoding: table[at + 33] ?? 0,
    owner: table.readUInt16LE(at + 34),
    key: table.subarray(at + 40, at + 40 + KEY_BYTES),
    writtenAtMs: 0,
  };
}

/** Walks the rows of a footer table whose checksum holds, millions of them at a start, without an object a row. */
export class FooterCursor {
  private readonly words: Uint32Array;
  private at = 0;
  /** The key of the row, as `keyWords` gives it; overwritten by the next move. */
  readonly keyWords = new Int32Array(KEY_BYTES / 4);

  /** @param table Of `Buffer.alloc`, which gives whole words on a little-endian machine. */
  constructor(table: Buffer) {
    const aligned = table.byteOffset % 4 === 0 ? table : Buffer.from(Uint8Array.from(table).buffer);
    this.words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
  }

  moveTo(row: number): void {
    this.at = (row * FOOTER_ROW_BYTES) / 4;
    for (let i = 0; i < this.keyWords.length; i += 1) this.keyWords[i] = this.words[this.at + 10 + i] ?? 0;
  }

  get offset(): number {
    return this.uint64(0);
  }

  get sizeBytes(): number {
    return this.uint64(4);
  }

  get storedBytes(): number {
    return this.uint64(6);
  }

  get space(): number {
    return (this.words[this.at + 8] ?? 0) & 0xff;
  }

  get encoding(): number {
    return ((this.words[this.at + 8] ?? 0) >>> 8) & 0xff;
  }

  get owner(): number {
    return (this.words[this.at + 8] ?? 0) >>> 16;
  }

  private uint64(word: number): number {
    return (this.words[this.at + word] ?? 0) + (this.words[this.at + word + 1] ?? 0) * 2 ** 32;
  }
}

export function footerTableHolds(table: Buffer, footer: SegmentFooter): boolean {
  return table.length === footer.rowCount * FOOTER_ROW_BYTES && crc32(table) === footer.tableCrc;
}

function sealCrc(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(crc32(bytes.subarray(0, bytes.length - 4)), bytes.length - 4);
  return bytes;
}

function crcHolds(bytes: Buffer): boolean {
  return crc32(bytes.subarray(0, bytes.length - 4)) === bytes.readUInt32LE(bytes.length - 4);
}

function isZero(bytes: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i += 1) if (bytes[i] !== 0) return false;
  return true;
}

/** Safe integers only: two words, because BigInt costs an allocation per field. */
function writeUint64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

function readUint64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}
