/**
 * Bytes on disk, in shared memory, so that every thread that makes a file bigger has asked first (I7).
 *
 * `used` counts what files hold plus what admitted uploads may still write. Uploads reserve before they stage and
 * either turn the reservation into segment bytes or release it; retirement releases what it unlinks.
 */
const USED = 0;
const WORD_COUNT = 1;

export class DiskLedger {
  readonly buffer: SharedArrayBuffer;
  readonly bytesMax: number;
  private readonly words: BigInt64Array;

  constructor(bytesMax: number, buffer = new SharedArrayBuffer(WORD_COUNT * 8)) {
    this.bytesMax = bytesMax;
    this.buffer = buffer;
    this.words = new BigInt64Array(buffer);
  }

  get bytesUsed(): number {
    return Number(Atomics.load(this.words, USED));
  }

  /** Reserves `bytes` if they fit below `bytesMax - keepFree`. */
  tryReserve(bytes: number, keepFree: number): boolean {
    const limit = BigInt(this.bytesMax - keepFree);
    const wanted = BigInt(bytes);
    for (;;) {
      const used = Atomics.load(this.words, USED);
      if (used + wanted > limit) return false;
      // Another thread may have reserved since the load: then the exchange fails and the sum is tried again, so two
      // threads never both take the last room.
      if (Atomics.compareExchange(this.words, USED, used, used + wanted) === used) return true;
    }
  }

  /** Counts bytes that are there or must be written whatever the limit says (recovery, footers). */
  charge(bytes: number): void {
    Atomics.add(this.words, USED, BigInt(bytes));
  }

  release(bytes: number): void {
    Atomics.sub(this.words, USED, BigInt(bytes));
  }
}
