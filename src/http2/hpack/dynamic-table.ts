import { filledArray } from "../filled-array.ts";

/** What an entry counts for besides its texts (RFC 7541, section 4.1). */
export const ENTRY_OVERHEAD_BYTES = 32;

/** What most clients come by with. */
const SLOTS_AT_FIRST = 8;

/**
 * The dynamic table of one direction of a connection (RFC 7541, section 2.3.2). Entries sit in a ring, newest first:
 *
 *     index     0       1       2   ...  count-1
 *     slot    newest  newest-1  ...      (modulo the ring's length)
 */
export class DynamicTable {
  #names = filledArray(SLOTS_AT_FIRST, "");
  #values = filledArray(SLOTS_AT_FIRST, "");
  #newest = 0;
  #count = 0;
  #bytes = 0;
  #bytesMax: number;
  #generation = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Changes with the content: what was decoded from the table holds as long as this stays. */
  get generation(): number {
    return this.#generation;
  }

  /** @param index from 0, the newest, to `count - 1`. */
  nameAt(index: number): string {
    return this.#names[this.#slot(index)]!;
  }

  valueAt(index: number): string {
    return this.#values[this.#slot(index)]!;
  }

  /** Evicts the oldest entries until the new one fits; one larger than the table just empties it. */
  insert(name: string, value: string): void {
    const bytes = name.length + value.length + ENTRY_OVERHEAD_BYTES;
    this.#generation++;
    this.#evictTo(this.#bytesMax - bytes);
    if (bytes > this.#bytesMax) return;
    if (this.#count === this.#names.length) this.#double();
    this.#newest = (this.#newest + 1) % this.#names.length;
    this.#names[this.#newest] = name;
    this.#values[this.#newest] = value;
    this.#count++;
    this.#bytes += bytes;
  }

  /** @param bytesMax no more than the constructor was given. */
  resize(bytesMax: number): void {
    this.#bytesMax = bytesMax;
    if (this.#bytes > bytesMax) this.#generation++;
    this.#evictTo(bytesMax);
  }

  #evictTo(bytesMax: number): void {
    while (this.#bytes > bytesMax && this.#count > 0) {
      const oldest = this.#slot(this.#count - 1);
      this.#bytes -= this.#names[oldest]!.length + this.#values[oldest]!.length + ENTRY_OVERHEAD_BYTES;
      this.#names[oldest] = "";
      this.#values[oldest] = "";
      this.#count--;
    }
  }

  /** The ring is full: the oldest entry comes into the first slot. An entry counts for 32 bytes at least, which bounds it. */
  #double(): void {
    const [names, values] = [filledArray(2 * this.#count, ""), filledArray(2 * this.#count, "")];
    for (let index = 0; index < this.#count; index++) {
      names[this.#count - 1 - index] = this.nameAt(index);
      values[this.#count - 1 - index] = this.valueAt(index);
    }
    [this.#names, this.#values] = [names, values];
    this.#newest = this.#count - 1;
  }

  #slot(index: number): number {
    const slot = this.#newest - index;
    return slot < 0 ? slot + this.#names.length : slot;
  }
}
