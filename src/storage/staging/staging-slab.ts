/** An upload of more than this asks for all of its memory before it takes any. */
export const UNPROMISED_BYTES_MAX = 1024 * 1024;
/** Of the slab, for uploads that ask: however many of them are slow, the others find the rest. */
const PROMISED_SHARE_MAX = 0.5;

/**
 * Shared memory for small uploads, in blocks: a listener's thread writes a block, the shard worker reads it in place,
 * the bytes are never copied between threads. A block belongs to one upload from `take` to `give` (I5). An upload
 * takes blocks as its bytes arrive, so a slow one holds no more than it has sent.
 *
 * Each listener's thread has a share of the blocks, which nobody else gives out; the workers see all of them.
 */
export interface SlabShare {
  readonly index: number;
  readonly count: number;
}

const WHOLE: SlabShare = { index: 0, count: 1 };

export class StagingSlab {
  readonly buffer: SharedArrayBuffer;
  readonly blockBytes: number;
  private readonly bytes: Buffer;
  private readonly free: number[];
  /** Of this share. */
  readonly blockCount: number;
  private promisedBytes = 0;

  /** @param buffer What another share was made with; a new one unless it is given. */
  constructor(totalBytes: number, blockBytes: number, { index, count } = WHOLE, buffer?: SharedArrayBuffer) {
    this.blockBytes = blockBytes;
    this.blockCount = Math.max(1, Math.floor(totalBytes / blockBytes / count));
    this.buffer = buffer ?? new SharedArrayBuffer(this.blockCount * count * blockBytes);
    this.bytes = Buffer.from(this.buffer);
    const firstBlock = index * this.blockCount;
    // Low numbers on top: blocks in use stay few and warm.
    this.free = Array.from({ length: this.blockCount }, (_, i) => firstBlock + this.blockCount - 1 - i);
  }

  get bytesInUse(): number {
    return (this.blockCount - this.free.length) * this.blockBytes;
  }

  get bytesFree(): number {
    return this.free.length * this.blockBytes;
  }

  /** Asks for the memory of a large upload. @returns whether it may take blocks; then it calls {@link unpromise}. */
  tryPromise(bytes: number): boolean {
    if (this.promisedBytes + bytes > this.blockCount * this.blockBytes * PROMISED_SHARE_MAX) return false;
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
