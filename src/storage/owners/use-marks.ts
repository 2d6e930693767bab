import { OWNER_COUNT } from "../index/index-layout.ts";

/**
 * Which owners have read or written lately, in shared memory: a word an owner, which every thread may set and the main
 * thread takes back now and then. A store to a word that is set already costs its cache line nothing.
 */
export class UseMarks {
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;

  constructor(buffer = new SharedArrayBuffer(OWNER_COUNT * 4)) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer);
  }

  set(owner: number): void {
    if (Atomics.load(this.words, owner) === 0) Atomics.store(this.words, owner, 1);
  }

  /** @returns whether it was set. One that is set between the look and the exchange is taken with it. */
  take(owner: number): boolean {
    return Atomics.load(this.words, owner) !== 0 && Atomics.exchange(this.words, owner, 0) !== 0;
  }
}
