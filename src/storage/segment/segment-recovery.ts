import { errorCode, type FileSystem, readFully } from "../file-system.ts";
import {
  CHUNK_BYTES,
  chunkCount,
  chunkHolds,
  decodeFooterRow,
  decodeFooterTail,
  decodeRecordHeader,
  type DecodedRecordHeader,
  decodeSegmentHeader,
  FOOTER_ROW_BYTES,
  FOOTER_TAIL_BYTES,
  footerTableHolds,
  FORMAT_VERSION,
  isReadableVersion,
  type PlacedRecord,
  RECORD_HEADER_BYTES,
  recordBytes,
  recordTrailerBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentFooter,
  type SegmentHeader,
} from "./segment-format.ts";

/** What can be told of a sealed segment without reading its records. */
export interface SealedSegment {
  readonly header: SegmentHeader;
  readonly footer: SegmentFooter;
  readonly fileBytes: number;
}

/** What a segment file was found to hold. */
export interface RecoveredSegment {
  /** Undefined where the header is damaged; the records then count for whatever shard their keys belong to. */
  readonly header: SegmentHeader | undefined;
  readonly nonce: number;
  readonly records: PlacedRecord[];
  /** Where the last good record ends. */
  readonly endOffset: number;
  readonly fileBytes: number;
  /** Whether a valid footer gave the records. */
  readonly sealed: boolean;
  /** Damaged stretches that a valid record follows (HAZARDS H4): corruption, not a torn tail. */
  readonly corruptStretches: number;
}

/** Thrown for a segment of a format version that this build does not know (HAZARDS H25). */
export class UnknownFormatVersionError extends Error {
  constructor(version: number) {
    super(`segment format version: expected at most ${FORMAT_VERSION}, got ${version}`);
    this.name = "UnknownFormatVersionError";
  }
}

/**
 * Looks at the first and last bytes of a segment file. @returns undefined where it is not sealed or damaged there.
 * @throws {UnknownFormatVersionError}
 */
export function inspectSegment(fileSystem: FileSystem, fd: number): SealedSegment | undefined {
  const fileBytes = fileSystem.sizeOf(fd);
  const header = decodeSegmentHeader(readAt(fileSystem, fd, 0, SEGMENT_HEADER_BYTES));
  if (header === undefined) return undefined;
  if (!isReadableVersion(header.version)) throw new UnknownFormatVersionError(header.version);
  const footer = readFooterTail(fileSystem, fd, fileBytes);
  return footer?.nonce === header.nonce ? { header, footer, fileBytes } : undefined;
}

/** What the last bytes of a file say of a table that lies right before them, or undefined. */
function readFooterTail(fileSystem: FileSystem, fd: number, fileBytes: number): SegmentFooter | undefined {
  if (fileBytes < SEGMENT_HEADER_BYTES + FOOTER_TAIL_BYTES) return undefined;
  const footer = decodeFooterTail(readAt(fileSystem, fd, fileBytes - FOOTER_TAIL_BYTES, FOOTER_TAIL_BYTES));
  if (footer === undefined) return undefined;
  const tableEnd = footer.tableOffset + footer.rowCount * FOOTER_ROW_BYTES;
  return tableEnd + FOOTER_TAIL_BYTES === fileBytes ? footer : undefined;
}

/** The header of a segment file, or undefined where there is no file or it is damaged. */
export function readSegmentHeader(fileSystem: FileSystem, path: string): SegmentHeader | undefined {
  let fd: number;
  try {
    fd = fileSystem.open(path, "read");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    return decodeSegmentHeader(readAt(fileSystem, fd, 0, SEGMENT_HEADER_BYTES));
  } finally {
    fileSystem.close(fd);
  }
}

/**
 * The footer's rows, or undefined where they fail their checksum.
 * @param memory To read them into, where it is large enough.
 */
export function readFooterTable(
  fileSystem: FileSystem,
  fd: number,
  footer: SegmentFooter,
  memory: Buffer = Buffer.alloc(0),
): Buffer | undefined {
  const bytes = footer.rowCount * FOOTER_ROW_BYTES;
  const target = memory.length < bytes ? Buffer.alloc(bytes) : memory.subarray(0, bytes);
  const table = target.subarray(0, readFully(fileSystem, fd, target, footer.tableOffset));
  return footerTableHolds(table, footer) ? table : undefined;
}

/**
 * Reads what a segment file holds without changing it: by its footer where that is whole, else by scanning the
 * records and checking every payload. The scan ends at the torn tail; damage that a valid record of this segment
 * follows is stepped over.
 * @throws {UnknownFormatVersionError}
 */
export function recoverSegment(fileSystem: FileSystem, fd: number): RecoveredSegment {
  const sealed = inspectSegment(fileSystem, fd);
  const table = sealed === undefined ? undefined : readFooterTable(fileSystem, fd, sealed.footer);
  if (sealed !== undefined && table !== undefined) {
    const { header, footer, fileBytes } = sealed;
    const records = Array.from({ length: footer.rowCount }, (_, row) => decodeFooterRow(table, row));
    const endOffset = footer.tableOffset;
    return { header, nonce: header.nonce, records, endOffset, fileBytes, sealed: true, corruptStretches: 0 };
  }
  const fileBytes = fileSystem.sizeOf(fd);
  const header = decodeSegmentHeader(readAt(fileSystem, fd, 0, SEGMENT_HEADER_BYTES));
  return { header, fileBytes, sealed: false, ...new RecordScan(fileSystem, fd, fileBytes).run(header?.nonce) };
}

class RecordScan {
  private readonly fileSystem: FileSystem;
  private readonly fd: number;
  private readonly fileBytes: number;
  private readonly chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  private readonly window = Buffer.allocUnsafe(CHUNK_BYTES);

  constructor(fileSystem: FileSystem, fd: number, fileBytes: number) {
    this.fileSystem = fileSystem;
    this.fd = fd;
    this.fileBytes = fileBytes;
  }

  run(headerNonce: number | undefined): Pick<RecoveredSegment, "nonce" | "records" | "endOffset" | "corruptStretches"> {
    // With a damaged segment header the first record tells the nonce: its place is one that no client chooses. Where
    // that is damaged too, as by one bad sector, the footer does.
    const nonce =
      headerNonce ??
      this.headerAt(SEGMENT_HEADER_BYTES)?.nonce ??
      readFooterTail(this.fileSystem, this.fd, this.fileBytes)?.nonce;
    const records: PlacedRecord[] = [];
    let endOffset = SEGMENT_HEADER_BYTES;
    let corruptStretches = 0;
    let offset: number | undefined = nonce === undefined ? undefined : SEGMENT_HEADER_BYTES;
    while (offset !== undefined) {
      const record = this.recordAt(offset, nonce);
      if (record !== undefined) {
        records.push({ ...record, offset });
        offset += recordBytes(record.storedBytes);
        endOffset = offset;
        continue;
      }
      offset = this.nextRecordAfter(offset, nonce);
      if (offset !== undefined) corruptStretches += 1;
    }
    return { nonce: nonce ?? 0, records, endOffset, corruptStretches };
  }

  /** Offset of the next whole record of this segment; records start at multiples of 8. */
  private nextRecordAfter(offset: number, nonce: number | undefined): number | undefined {
    let at = offset + 8;
    while (at + RECORD_HEADER_BYTES <= this.fileBytes) {
      const bytes = readFully(this.fileSystem, this.fd, this.window, at);
      const last = bytes - RECORD_HEADER_BYTES;
      for (let i = 0; i <= last; i += 8) {
        const header = decodeRecordHeader(this.window.subarray(i, i + RECORD_HEADER_BYTES));
        if (header !== undefined && header.nonce === nonce && this.recordAt(at + i, nonce) !== undefined) return at + i;
      }
      if (bytes < this.window.length) return undefined;
      at += Math.floor(last / 8) * 8 + 8;
    }
    return undefined;
  }

  private headerAt(offset: number): DecodedRecordHeader | undefined {
    return decodeRecordHeader(readAt(this.fileSystem, this.fd, offset, RECORD_HEADER_BYTES));
  }

  private recordAt(offset: number, nonce: number | undefined): DecodedRecordHeader | undefined {
    const header = this.headerAt(offset);
    if (header === undefined || header.nonce !== nonce) return undefined;
    if (offset + recordBytes(header.storedBytes) > this.fileBytes) return undefined;
    return this.payloadHolds(offset + RECORD_HEADER_BYTES, header.storedBytes) ? header : undefined;
  }

  private payloadHolds(offset: number, storedBytes: number): boolean {
    const trailer = readAt(this.fileSystem, this.fd, offset + storedBytes, recordTrailerBytes(storedBytes));
    if (trailer.length < recordTrailerBytes(storedBytes)) return false;
    for (let index = 0; index < chunkCount(storedBytes); index += 1) {
      const at = index * CHUNK_BYTES;
      const chunk = this.chunk.subarray(0, Math.min(CHUNK_BYTES, storedBytes - at));
      if (readFully(this.fileSystem, this.fd, chunk, offset + at) < chunk.length) return false;
      if (!chunkHolds(chunk, trailer, index)) return false;
    }
    return true;
  }
}

/** Up to `bytes` bytes; shorter at the end of the file. */
function readAt(fileSystem: FileSystem, fd: number, offset: number, bytes: number): Buffer {
  const target = Buffer.alloc(bytes);
  return target.subarray(0, readFully(fileSystem, fd, target, offset));
}
