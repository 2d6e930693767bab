import { copyBytes } from "../copy-bytes.ts";
import { type FileSystem, writeFullyAsync } from "../file-system.ts";
import type { EarlySyncs } from "./early-syncs.ts";

export interface StagingFileOptions {
  /** Of each of the two buffers. */
  readonly bufferBytes: number;
  /** For a file that is going to be synced; undefined: not before its end. */
  readonly earlySyncs?: EarlySyncs | undefined;
}

/**
 * A temp file that an upload is written to, with one write in flight and one buffer filling. Closing it is what
 * ends the upload's ownership: every byte was handed to the kernel by a write that has completed, and the
 * descriptor is gone, before anybody else may open the path (I5, DESIGN 1).
 */
export class StagingFile {
  private readonly fileSystem: FileSystem;
  readonly path: string;
  private readonly fd: number;
  private readonly bufferBytes: number;
  private readonly earlySyncs: EarlySyncs | undefined;
  /** The one that is filled, and the one that is written or idle; each is made when it is needed. */
  private filling: Buffer | undefined;
  private other: Buffer | undefined;
  private filled = 0;
  private position: number;
  private pending: Promise<void> | undefined;
  private unsyncedBytes = 0;
  private syncing: Promise<void> | undefined;
  private failure: unknown;
  private ending = false;
  private closed = false;

  private constructor(fileSystem: FileSystem, path: string, fd: number, position: number, options: StagingFileOptions) {
    this.fileSystem = fileSystem;
    this.path = path;
    this.fd = fd;
    this.position = position;
    this.bufferBytes = options.bufferBytes;
    this.earlySyncs = options.earlySyncs;
  }

  /** @param payloadOffset Bytes left free at the start for headers. */
  static async create(
    fileSystem: FileSystem,
    path: string,
    payloadOffset: number,
    options: StagingFileOptions,
  ): Promise<StagingFile> {
    const fd = await fileSystem.openAsync(path, "create");
    return new StagingFile(fileSystem, path, fd, payloadOffset, options);
  }

  /** Goes on with a file that was finished; what follows is written from `position` on. */
  static async reopen(
    fileSystem: FileSystem,
    path: string,
    position: number,
    options: StagingFileOptions,
  ): Promise<StagingFile> {
    const fd = await fileSystem.openAsync(path, "update");
    return new StagingFile(fileSystem, path, fd, position, options);
  }

  /** Puts `head` into the bytes left free. Only before the first byte; the buffers have room for it and more. */
  beginWith(head: Uint8Array): void {
    this.position = 0;
    this.fill(head);
  }

  /** Copies `chunk` where that can be done at once. @returns false where nothing was taken. */
  tryWrite(chunk: Uint8Array): boolean {
    const room = this.bufferBytes - this.filled;
    // A full buffer is written at once, so that there is another one to fill only while none is being written.
    const roomInAll = this.pending === undefined ? room + this.bufferBytes : room;
    if (this.failure !== undefined || chunk.byteLength >= roomInAll) return false;
    this.fill(chunk);
    return true;
  }

  /** Copies `chunk`. The promise, where there is one, is the back-pressure. */
  write(chunk: Uint8Array): Promise<void> | undefined {
    return this.tryWrite(chunk) ? undefined : this.writeThrough(chunk);
  }

  private async writeThrough(chunk: Uint8Array): Promise<void> {
    const step = this.bufferBytes;
    for (let at = 0; at < chunk.byteLength; at += step) {
      const piece = chunk.subarray(at, at + step);
      while (!this.tryWrite(piece)) {
        await this.pending;
        if (this.failure !== undefined) throw this.failure;
      }
    }
  }

  private fill(chunk: Uint8Array): void {
    const take = Math.min(this.bufferBytes - this.filled, chunk.byteLength);
    this.filling ??= Buffer.allocUnsafeSlow(this.bufferBytes);
    copyBytes(chunk, this.filling, this.filled, take);
    this.filled += take;
    if (this.filled < this.bufferBytes) return;
    this.flush(this.filling);
    if (take < chunk.byteLength) this.fill(chunk.subarray(take));
  }

  /** Starts writing what is in the buffer; none is being written. */
  private flush(full: Buffer): void {
    const at = this.position;
    const bytes = this.filled;
    this.position += bytes;
    this.pending = writeFullyAsync(this.fileSystem, this.fd, full.subarray(0, bytes), at)
      .then(() => this.syncEarly(bytes))
      .catch(this.noteFailure)
      .finally(() => {
        this.pending = undefined;
      });
    this.filling = this.other;
    this.other = full;
    this.filled = 0;
  }

  private syncEarly(writtenBytes: number): void {
    const { earlySyncs } = this;
    this.unsyncedBytes += writtenBytes;
    if (earlySyncs === undefined || this.unsyncedBytes < earlySyncs.stepBytes) return;
    const syncing = this.syncing !== undefined || this.ending ? undefined : earlySyncs.tryStart(this.fd);
    if (syncing === undefined) return;
    this.unsyncedBytes = 0;
    // A failed one has dropped pages: the file is as lost as if a write had failed (HAZARDS H5).
    this.syncing = syncing.catch(this.noteFailure).finally(() => {
      this.syncing = undefined;
    });
  }

  private readonly noteFailure = (error: unknown): void => {
    this.failure ??= error;
  };

  private flushRest(): void {
    if (this.filling !== undefined && this.filled > 0 && this.failure === undefined) this.flush(this.filling);
  }

  /**
   * Resolves once the file holds what was written so far, and nothing is held in memory for it. @throws what the file
   * system reported.
   */
  async settle(): Promise<void> {
    await this.pending;
    this.flushRest();
    await this.pending;
    if (this.filled === 0) this.filling = undefined;
    this.other = undefined;
    if (this.failure !== undefined) throw this.failure;
  }

  /**
   * Waits for every write, then closes the descriptor.
   * @throws what the file system reported for any of the writes.
   */
  async finish(): Promise<void> {
    this.ending = true;
    try {
      await this.pending;
      this.flushRest();
    } finally {
      await this.close();
    }
    if (this.failure !== undefined) throw this.failure;
  }

  /** Closes and removes the file, whatever state it is in. */
  async discard(): Promise<void> {
    try {
      await this.close();
    } finally {
      this.fileSystem.remove(this.path);
    }
  }

  private async close(): Promise<void> {
    this.ending = true;
    await this.pending;
    await this.syncing;
    if (this.closed) return;
    this.closed = true;
    await this.fileSystem.closeAsync(this.fd);
  }
}
