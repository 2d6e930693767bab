import { type FileSystem, writeFully } from "../file-system.ts";
import { segmentPath } from "./segment-file.ts";
import {
  encodeSegmentHeader,
  FOOTER_ROW_BYTES,
  FOOTER_TAIL_BYTES,
  FooterRows,
  FORMAT_VERSION,
  type PlacedRecord,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./segment-format.ts";

export type SegmentIdentity = Omit<SegmentHeader, "version">;

/**
 * The append end of one segment, held by the shard that owns it (I3). `append` puts bytes in the page cache,
 * `sync` makes them durable; nothing that was appended since the last `sync` may be acknowledged at durability
 * `commit`. After a failed `sync` the kernel has dropped the pages and forgotten the error, so the writer is
 * poisoned: it is never synced or appended to again (HAZARDS H5).
 */
export class SegmentWriter {
  readonly identity: SegmentIdentity;
  private readonly fileSystem: FileSystem;
  private readonly fd: number;
  private readonly rows: FooterRows;
  private end: number;
  /** Up to here a sync has succeeded. */
  private syncedEnd: number;
  private dirty: boolean;
  private poisoned = false;
  private tailNeedsCut = false;
  private abandoned = false;

  private constructor(
    fileSystem: FileSystem,
    fd: number,
    identity: SegmentIdentity,
    records: Iterable<PlacedRecord>,
    end: number,
  ) {
    this.fileSystem = fileSystem;
    this.fd = fd;
    this.identity = identity;
    this.rows = new FooterRows(records);
    this.end = end;
    this.syncedEnd = end;
    this.dirty = false;
  }

  /** Makes a new file with its header; the caller syncs the directory before it acknowledges a record in it. */
  static create(fileSystem: FileSystem, segmentsDirectory: string, identity: SegmentIdentity): SegmentWriter {
    const path = segmentPath(segmentsDirectory, identity.segmentId);
    const fd = fileSystem.open(path, "create");
    try {
      writeFully(fileSystem, fd, [encodeSegmentHeader({ version: FORMAT_VERSION, ...identity })], 0);
    } catch (error) {
      fileSystem.close(fd);
      fileSystem.remove(path);
      throw error;
    }
    const writer = new SegmentWriter(fileSystem, fd, identity, [], SEGMENT_HEADER_BYTES);
    writer.dirty = true;
    writer.syncedEnd = 0;
    return writer;
  }

  /** Goes on behind the last good record of a recovered segment; what follows it (a footer, a torn tail) is cut. */
  static resume(
    fileSystem: FileSystem,
    segmentsDirectory: string,
    identity: SegmentIdentity,
    records: Iterable<PlacedRecord>,
    end: number,
  ): SegmentWriter {
    const fd = fileSystem.open(segmentPath(segmentsDirectory, identity.segmentId), "update");
    try {
      fileSystem.truncate(fd, end);
    } catch (error) {
      fileSystem.close(fd);
      throw error;
    }
    const writer = new SegmentWriter(fileSystem, fd, identity, records, end);
    writer.dirty = true;
    return writer;
  }

  get segmentId(): number {
    return this.identity.segmentId;
  }

  /** Where the next record will start. */
  get endOffset(): number {
    return this.end;
  }

  get recordCount(): number {
    return this.rows.count;
  }

  /** Whether a sync or the footer failed: what was appended since the last good sync may be lost. */
  get wasAbandoned(): boolean {
    return this.abandoned;
  }

  get isDirty(): boolean {
    return this.dirty;
  }

  /** Bytes of the file once it is sealed. */
  get sealedBytes(): number {
    return this.end + this.rows.count * FOOTER_ROW_BYTES + FOOTER_TAIL_BYTES;
  }

  /**
   * Appends whole records in one vectored write. All or nothing: on an error the file is cut back to where it
   * ended, so that a later record never follows a torn one.
   */
  append(records: readonly PlacedRecord[], pieces: readonly Uint8Array[], byteCount: number): void {
    this.assertUsable();
    this.dirty = true;
    try {
      writeFully(this.fileSystem, this.fd, pieces, this.end);
    } catch (error) {
      this.cutBack();
      throw error;
    }
    this.end += byteCount;
    for (const record of records) this.rows.add(record);
  }

  /** @throws whatever fdatasync reports; the writer is then poisoned. */
  sync(): void {
    this.assertUsable();
    if (!this.dirty) return;
    try {
      this.fileSystem.syncData(this.fd);
    } catch (error) {
      this.poisoned = true;
      throw error;
    }
    this.dirty = false;
    this.syncedEnd = this.end;
  }

  /**
   * Syncs, writes the footer, syncs, closes. In that order: a start takes the records of a footer for durable without
   * looking, and finds the footer also where this process is killed before the second sync.
   * @returns the size of the file in bytes.
   */
  seal(): number {
    const { sealedBytes } = this;
    if (this.tailNeedsCut) this.fileSystem.truncate(this.fd, this.end);
    this.sync();
    this.dirty = true;
    writeFully(this.fileSystem, this.fd, [this.rows.encode(this.end, this.identity.nonce)], this.end);
    this.sync();
    this.fileSystem.close(this.fd);
    return sealedBytes;
  }

  /**
   * Closes without a footer; the next start scans the file. After a failed sync the page cache still shows what the
   * disk may never get: it is cut off, so that neither a reader nor a start takes it for stored. A footer that could
   * not be written has cost no record.
   * @returns what became of the records since the last good sync.
   */
  abandon(): "kept" | "cut" | "in doubt" {
    this.abandoned = true;
    const keptEnd = this.poisoned ? this.syncedEnd : this.end;
    try {
      this.fileSystem.truncate(this.fd, keptEnd);
      return keptEnd === this.end ? "kept" : "cut";
    } catch {
      // Nothing behind the last good sync was acknowledged; the next start writes anew what it keeps of it.
      return keptEnd === this.end ? "kept" : "in doubt";
    } finally {
      this.fileSystem.close(this.fd);
    }
  }

  private cutBack(): void {
    this.tailNeedsCut = true;
    try {
      this.fileSystem.truncate(this.fd, this.end);
      this.tailNeedsCut = false;
    } catch {
      // Tried again before the footer is written, which must end the file. Until then the next append overwrites
      // the torn bytes, and after a crash recovery cuts them.
    }
  }

  private assertUsable(): void {
    if (this.poisoned) throw new Error(`segment ${this.segmentId}: used after a failed sync`);
  }
}
