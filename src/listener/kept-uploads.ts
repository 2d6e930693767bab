/** How many interrupted uploads each listener keeps, in shared memory: most of the time none, and nobody is asked. */
export class KeptUploads {
  readonly buffer: SharedArrayBuffer;
  readonly #counts: Int32Array;
  readonly #listenerIndex: number;

  constructor(listenerIndex: number, listenerCount: number, buffer = new SharedArrayBuffer(listenerCount * 4)) {
    this.buffer = buffer;
    this.#counts = new Int32Array(buffer);
    this.#listenerIndex = listenerIndex;
  }

  note(count: number, listenerIndex = this.#listenerIndex): void {
    Atomics.store(this.#counts, listenerIndex, count);
  }

  /** An upload that another listener keeps from now on is not seen; it goes by its age. */
  get othersKeep(): boolean {
    for (let i = 0; i < this.#counts.length; i += 1) {
      if (i !== this.#listenerIndex && Atomics.load(this.#counts, i) > 0) return true;
    }
    return false;
  }
}
