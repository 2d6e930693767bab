/**
 * Shared words by which workers take their places: one slot per shard, then the counter that names segments.
 */
export class ShardAssignment {
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;
  private readonly shardCount: number;

  constructor(shardCount: number, buffer = new SharedArrayBuffer((shardCount + 1) * 4)) {
    this.shardCount = shardCount;
    this.buffer = buffer;
    this.words = new Int32Array(buffer);
  }

  /**
   * Takes a shard slot for a thread.
   * @throws {Error} where another thread holds it: two writers of one shard are a bug that must not be survived.
   */
  claim(shardIndex: number, threadId: number): void {
    // Two workers that start for one shard at the same moment both see 0; the exchange lets one of them through.
    const holder = Atomics.compareExchange(this.words, shardIndex, 0, threadId);
    if (holder !== 0)
      throw new Error(`shard ${shardIndex}: claimed by thread ${threadId} while thread ${holder} holds it`);
  }

  /** Frees the slot of a worker that has exited. Only its supervisor calls this, after the exit. */
  release(shardIndex: number): void {
    Atomics.store(this.words, shardIndex, 0);
  }

  setNextSegmentId(segmentId: number): void {
    Atomics.store(this.words, this.shardCount, segmentId);
  }

  /** Ids grow with time over all shards: the lowest id is the oldest segment. */
  takeSegmentId(): number {
    return Atomics.add(this.words, this.shardCount, 1) >>> 0;
  }
}
