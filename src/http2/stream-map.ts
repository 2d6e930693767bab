import { filledArray } from "./filled-array.ts";
import type { Http2Stream } from "./http2-stream.ts";

/** A power of two, as all numbers of slots. */
const SLOTS_AT_FIRST = 8;

type Slots = (Http2Stream | undefined)[];

/**
 * Streams by id. Each table of a `Map` refers to the one that followed it, so that one that has grown old holds all later
 * ones, and the streams that were in them, until the next full collection. Here nothing refers to a stream that is gone.
 *
 * Of ids that a client picks to share one slot, finding one takes as many steps as it has streams open, 1000 at the most.
 * Others' are odd and rise, so that the lower bits of half an id spread streams evenly; a stream whose slot is taken
 * is in the next free one:
 *
 *     slot of 13 ─► │ 13 │ 29 │    │ 19 │ …        29 has the slot of 13, too
 */
export class StreamMap {
  #slots: Slots = filledArray(SLOTS_AT_FIRST, undefined);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(streamId: number): Http2Stream | undefined {
    return this.#slots[this.#find(streamId)];
  }

  /** @param stream whose id is not there. */
  add(stream: Http2Stream): void {
    if (2 * this.#size >= this.#slots.length) this.#double();
    this.#slots[this.#find(stream.id)] = stream;
    this.#size++;
  }

  /** @returns whether it was there. */
  delete(streamId: number): boolean {
    const at = this.#find(streamId);
    if (this.#slots[at] === undefined) return false;
    this.#size--;
    this.#close(at);
    return true;
  }

  /** Those that are there now. */
  streams(): Http2Stream[] {
    return this.#slots.filter((stream) => stream !== undefined);
  }

  /** The slot where it is, or where it would be. */
  #find(streamId: number): number {
    const slots = this.#slots;
    let at = this.#home(streamId);
    for (let there = slots[at]; there !== undefined && there.id !== streamId; there = slots[at]) at = this.#after(at);
    return at;
  }

  /** Empties a slot, and moves into it whoever could not be found beyond it. */
  #close(emptied: number): void {
    const slots = this.#slots;
    let gap = emptied;
    for (let at = this.#after(gap); slots[at] !== undefined; at = this.#after(at)) {
      const stream = slots[at]!;
      if (this.#distance(this.#home(stream.id), at) < this.#distance(gap, at)) continue;
      slots[gap] = stream;
      gap = at;
    }
    slots[gap] = undefined;
  }

  #double(): void {
    const streams = this.streams();
    this.#slots = filledArray(2 * this.#slots.length, undefined);
    for (const stream of streams) this.#slots[this.#find(stream.id)] = stream;
  }

  #home(streamId: number): number {
    return (streamId >>> 1) & (this.#slots.length - 1);
  }

  #after(at: number): number {
    return (at + 1) & (this.#slots.length - 1);
  }

  #distance(from: number, to: number): number {
    return (to - from) & (this.#slots.length - 1);
  }
}
