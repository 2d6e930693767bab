import { encodeInteger, encodeString } from "../../src/http2/hpack/encode-header-block.ts";
import { STATIC_ENTRY_COUNT, STATIC_NAMES, STATIC_VALUES } from "../../src/http2/hpack/static-table.ts";
import type { SeededRandom } from "../support/seeded-random.ts";

type Field = readonly [name: string, value: string];

/** Writes header blocks in every form that HPACK has, with a dynamic table of its own. */
export class HeaderBlockWriter {
  readonly #random: SeededRandom;
  readonly #tableBytesMax: number;
  #bytesMax: number;
  #table: Field[] = [];

  constructor(random: SeededRandom, tableBytesMax: number) {
    this.#random = random;
    this.#tableBytesMax = tableBytesMax;
    this.#bytesMax = tableBytesMax;
  }

  block(fields: readonly Field[]): Buffer {
    const random = this.#random;
    const parts: Buffer[] = [];
    if (random.fraction() < 0.05) {
      this.#bytesMax = random.int(0, this.#tableBytesMax);
      this.#evict();
      parts.push(encodeInteger(0x20, 0x1f, this.#bytesMax));
    }
    return Buffer.concat([...parts, ...fields.map((field) => this.#field(field))]);
  }

  /** Some field that is in one of the tables, if it is not empty. */
  knownField(): Field {
    const random = this.#random;
    if (this.#table.length > 0 && random.fraction() < 0.5) return random.pick(this.#table);
    const index = random.int(1, STATIC_ENTRY_COUNT);
    return [STATIC_NAMES[index]!, STATIC_VALUES[index]!];
  }

  #field([name, value]: Field): Buffer {
    const random = this.#random;
    const index = this.#indexOf((field) => field[0] === name && field[1] === value);
    if (index > 0 && random.fraction() < 0.9) return encodeInteger(0x80, 0x7f, index);
    const [pattern, mask] = random.pick([
      [0x40, 0x3f],
      [0x40, 0x3f],
      [0x00, 0x0f],
      [0x10, 0x0f],
    ] as const);
    const nameIndex = random.fraction() < 0.8 ? this.#indexOf((field) => field[0] === name) : 0;
    const parts = [encodeInteger(pattern, mask, nameIndex)];
    if (nameIndex === 0) parts.push(this.#string(name));
    parts.push(this.#string(value));
    if (pattern === 0x40) this.#insert([name, value]);
    return Buffer.concat(parts);
  }

  #string(text: string): Buffer {
    if (this.#random.fraction() < 0.7) return encodeString(text);
    const plain = Buffer.from(text, "latin1");
    return Buffer.concat([encodeInteger(0, 0x7f, plain.length), plain]);
  }

  /** 0: none. */
  #indexOf(matches: (field: Field) => boolean): number {
    const dynamicIndex = this.#table.findIndex(matches);
    if (dynamicIndex >= 0) return STATIC_ENTRY_COUNT + 1 + dynamicIndex;
    for (let index = 1; index <= STATIC_ENTRY_COUNT; index++) {
      if (matches([STATIC_NAMES[index]!, STATIC_VALUES[index]!])) return index;
    }
    return 0;
  }

  #insert(field: Field): void {
    this.#table = [field, ...this.#table];
    this.#evict();
  }

  #evict(): void {
    let bytes = 0;
    const kept = this.#table.findIndex(([name, value]) => (bytes += name.length + value.length + 32) > this.#bytesMax);
    if (kept >= 0) this.#table.length = kept;
  }
}
