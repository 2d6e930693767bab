/**
 * Bytes on disk, in shared memory, so that every thread that makes a file bigger has asked first (I7).
 *
 * `used` counts what files hold plus what admitted uploads may still write. Uploads reserve before they stage and
 * either turn the reservation into segment bytes or release it; retirement releases what it unlinks.
 *
 *   word   0      1                         2 …
 *          used   uploads that wait for it  what each listener thread holds of `used`
 *
 * A listener thread that ends takes the knowledge of its uploads with it; its word says what is to be released then.
 */
const USED = 0;
const WAITING = 1;
const HELD = 2;
/** Listener threads that can have a word: as many as `--listeners` takes. */
const LISTENERS_MAX = 64;
const WORD_COUNT = HELD + LISTENERS_MAX;

export class DiskLedger {
  readonly buffer: SharedArrayBuffer;
  readonly bytesMax: number;
  private readonly words: BigInt64Array;
  private readonly heldWord: number | undefined;

  /** @param listenerIndex The listener thread that this object reserves for, if it is one that may end by itself. */
  constructor(bytesMax: number, buffer = new SharedArrayBuffer(WORD_COUNT * 8), listenerIndex?: number) {
    this.bytesMax = bytesMax;
    this.buffer = buffer;
    this.words = new BigInt64Array(buffer);
    this.heldWord = listenerIndex === undefined ? undefined : HELD + listenerIndex;
  }

  get bytesUsed(): number {
    return Number(Atomics.load(this.words, USED));
  }

  /** Whether somebody waits for bytes to come free: then nobody may go before. */
  get hasWaiters(): boolean {
    return this.waiterCount > 0;
  }

  get waiterCount(): number {
    return Number(Atomics.load(this.words, WAITING));
  }

  setWaiters(count: number): void {
    Atomics.store(this.words, WAITING, BigInt(count));
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
      if (Atomics.compareExchange(this.words, USED, used, used + wanted) === used) break;
    }
    this.hold(bytes);
    return true;
  }

  /** Counts bytes that are there or must be written whatever the limit says (recovery, footers). */
  charge(bytes: number): void {
    Atomics.add(this.words, USED, BigInt(bytes));
  }

  release(bytes: number): void {
    this.letGo(bytes);
    Atomics.sub(this.words, USED, BigInt(bytes));
  }

  /** Reserved bytes are this listener thread's from now on. */
  hold(bytes: number): void {
    if (this.heldWord !== undefined) Atomics.add(this.words, this.heldWord, BigInt(bytes));
  }

  /** Reserved bytes are somebody else's from now on: the shard's that the upload is handed to. */
  letGo(bytes: number): void {
    if (this.heldWord !== undefined) Atomics.sub(this.words, this.heldWord, BigInt(bytes));
  }

  /** Releases what a listener thread held when it ended. */
  releaseHeldBy(listenerIndex: number): void {
    const bytes = Atomics.exchange(this.words, HELD + listenerIndex, 0n);
    Atomics.sub(this.words, USED, bytes);
  }
}
