/** An upload of more than this asks for all of its memory before it takes any. */
export const UNPROMISED_BYTES_MAX = 1024 * 1024;
/** Of the slab, for uploads that ask: however many of them are slow, the others find the rest. */
const PROMISED_SHARE_MAX = 0.5;

/**
 * Shared memory for small uploads, in blocks: the main thread writes a block, the shard worker reads it in place,
 * the bytes are never copied between threads. A block belongs to one upload from `take` to `give` (I5). An upload
 * takes blocks as its bytes arrive, so a slow one holds no more than it has sent.
 */
export class StagingSlab {
  readonly buffer: SharedArrayBuffer;
  readonly blockBytes: number;
  private readonly bytes: Buffer;
  private readonly free: number[];
  readonly blockCount: number;
  private promisedBytes = 0;

  constructor(totalBytes: number, blockBytes: number) {
    this.blockBytes = blockBytes;
    this.blockCount = Math.max(1, Math.floor(totalBytes / blockBytes));
    this.buffer = new SharedArrayBuffer(this.blockCount * blockBytes);
    this.bytes = Buffer.from(this.buffer);
    // Low numbers on top: blocks in use stay few and warm.
    this.free = Array.from({ length: this.blockCount }, (_, i) => this.blockCount - 1 - i);
  }

  get bytesInUse(): number {
    return (this.blockCount - this.free.length) * this.blockBytes;
  }

  get bytesFree(): number {
    return this.free.length * this.blockBytes;
  }

  /** Asks for the memory of a large upload. @returns whether it may take blocks; then it calls {@link unpromise}. */
  tryPromise(bytes: number): boolean {
    if (this.promisedBytes + bytes > this.buffer.byteLength * PROMISED_SHARE_MAX) return false;
    this.promisedBytes += bytes;
    return true;
  }

  unpromise(bytes: number): void {
    this.promisedBytes -= bytes;
  }

  /** @returns a block's number, or undefined where all are in use. */
  take(): number | undefined {
    return this.free.pop();
  }

  give(blocks: readonly number[]): void {
    this.free.push(...blocks);
  }

  view(block: number): Buffer {
    return this.bytes.subarray(block * this.blockBytes, (block + 1) * this.blockBytes);
  }
}
