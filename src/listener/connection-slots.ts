/**
 * How many connections all listeners have open, in shared memory, so that their bound is one for the process.
 *
 *   word   0     1 …
 *          all   those of each listener
 *
 * A listener thread that ends takes its sockets with it; its word says how many places are free then.
 */
const ALL = 0;
const OF_LISTENER = 1;

export class ConnectionSlots {
  readonly buffer: SharedArrayBuffer;
  readonly #countMax: number;
  readonly #words: Int32Array;
  readonly #listenerWord: number;

  constructor(
    countMax: number,
    listenerIndex: number,
    listenerCount: number,
    buffer = new SharedArrayBuffer((OF_LISTENER + listenerCount) * 4),
  ) {
    this.#countMax = countMax;
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#listenerWord = OF_LISTENER + listenerIndex;
  }

  /** @returns whether one more connection may be open. */
  tryTake(): boolean {
    // Added before it is compared: of two listeners that both see one place left, at most one keeps it.
    if (Atomics.add(this.#words, ALL, 1) >= this.#countMax) {
      Atomics.sub(this.#words, ALL, 1);
      return false;
    }
    Atomics.add(this.#words, this.#listenerWord, 1);
    return true;
  }

  give(): void {
    Atomics.sub(this.#words, this.#listenerWord, 1);
    Atomics.sub(this.#words, ALL, 1);
  }

  /** Frees the places of a listener thread that has ended. */
  giveAllOf(listenerIndex: number): void {
    Atomics.sub(this.#words, ALL, Atomics.exchange(this.#words, OF_LISTENER + listenerIndex, 0));
  }
}
