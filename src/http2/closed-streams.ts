const SLOTS = 1024;
/** From the first stream that closes on, what most connections come by with. */
const SLOTS_AT_FIRST = 64;
const NO_SLOTS = new Uint32Array(0);
const RESET_BIT = 1;

/** What is known of a stream that is no longer open; `forgotten` may also be one that was never opened. */
export type ClosedState = "reset" | "ended" | "forgotten";

/**
 * Remembers the streams that closed last, to tell frames that crossed our reset on the way (to be ignored, RFC 9113,
 * section 5.1) from frames on a stream that the client itself has ended.
 *
 * A slot belongs to the streams of every 1024th id; streams close roughly in order, so the last 1024 are remembered.
 * It holds `id << 1 | resetByUs`; ids have 31 bits.
 */
export class ClosedStreams {
  #slots = NO_SLOTS;

  add(streamId: number, resetByUs: boolean): void {
    // Until there are all of them, each stream has a slot of its own.
    while (streamId >>> 1 >= this.#slots.length && this.#slots.length < SLOTS) this.#double();
    this.#slots[this.#slot(streamId)] = streamId * 2 + (resetByUs ? RESET_BIT : 0);
  }

  stateOf(streamId: number): ClosedState {
    const value = this.#slots[this.#slot(streamId)] ?? 0;
    if (value >>> 1 !== streamId) return "forgotten";
    return (value & RESET_BIT) !== 0 ? "reset" : "ended";
  }

  #double(): void {
    const slots = new Uint32Array(Math.max(SLOTS_AT_FIRST, this.#slots.length * 2));
    slots.set(this.#slots);
    this.#slots = slots;
  }

  /** Client ids are odd. */
  #slot(streamId: number): number {
    return (streamId >>> 1) % this.#slots.length;
  }
}
