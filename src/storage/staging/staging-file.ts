import { type FileSystem, writeFullyAsync } from "../file-system.ts";

/**
 * A temp file that an upload is written to, with one write in flight and one buffer filling. Closing it is what
 * ends the upload's ownership: every byte was handed to the kernel by a write that has completed, and the
 * descriptor is gone, before anybody else may open the path (I5, DESIGN 1).
 */
export class StagingFile {
  private readonly fileSystem: FileSystem;
  readonly path: string;
  private readonly fd: number;
  private readonly buffers: [Buffer, Buffer];
  private filling: 0 | 1 = 0;
  private filled = 0;
  private position: number;
  private pending: Promise<void> = Promise.resolve();
  private failure: unknown;
  private closed = false;

  private constructor(fileSystem: FileSystem, path: string, fd: number, payloadOffset: number, bufferBytes: number) {
    this.fileSystem = fileSystem;
    this.path = path;
    this.fd = fd;
    this.position = payloadOffset;
    this.buffers = [Buffer.allocUnsafe(bufferBytes), Buffer.allocUnsafe(bufferBytes)];
  }

  /** @param payloadOffset Bytes left free at the start for headers. */
  static async create(
    fileSystem: FileSystem,
    path: string,
    payloadOffset: number,
    bufferBytes: number,
  ): Promise<StagingFile> {
    const fd = await fileSystem.openAsync(path, "create");
    return new StagingFile(fileSystem, path, fd, payloadOffset, bufferBytes);
  }

  /** Copies `chunk`. The promise, where there is one, is the back-pressure. */
  write(chunk: Uint8Array): Promise<void> | undefined {
    const buffer = this.buffers[this.filling];
    if (this.filled + chunk.byteLength < buffer.length) {
      buffer.set(chunk, this.filled);
      this.filled += chunk.byteLength;
      return undefined;
    }
    return this.writeThrough(chunk);
  }

  private async writeThrough(chunk: Uint8Array): Promise<void> {
    let taken = 0;
    while (taken < chunk.byteLength) {
      const buffer = this.buffers[this.filling];
      const take = Math.min(buffer.length - this.filled, chunk.byteLength - taken);
      buffer.set(chunk.subarray(taken, taken + take), this.filled);
      this.filled += take;
      taken += take;
      if (this.filled === buffer.length) await this.flush();
    }
  }

  /** Starts writing the filled buffer once the other one is written. */
  private async flush(): Promise<void> {
    const full = this.buffers[this.filling].subarray(0, this.filled);
    await this.pending;
    if (this.failure !== undefined) throw this.failure;
    const at = this.position;
    this.position += full.length;
    this.pending = writeFullyAsync(this.fileSystem, this.fd, full, at).catch((error: unknown) => {
      this.failure = error;
    });
    this.filling = this.filling === 0 ? 1 : 0;
    this.filled = 0;
  }

  /**
   * Waits for every write, then closes the descriptor.
   * @throws what the file system reported for any of the writes.
   */
  async finish(): Promise<void> {
    try {
      if (this.filled > 0) await this.flush();
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
    await this.pending;
    if (this.closed) return;
    this.closed = true;
    await this.fileSystem.closeAsync(this.fd);
  }
}
