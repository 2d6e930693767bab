import { huffmanCodes, HUFFMAN_EOS } from "../../src/http2/hpack/huffman-code.ts";
import { STATIC_ENTRY_COUNT, STATIC_NAMES, STATIC_VALUES } from "../../src/http2/hpack/static-table.ts";

type Field = readonly [name: string, value: string];

const SYMBOLS = new Map(
  huffmanCodes().map(({ symbol, code, bits }) => [code.toString(2).padStart(bits, "0"), symbol] as const),
);
/** What the decoder under test takes at the most; longer ones are allowed by nobody. */
const INTEGER_BYTES_MAX = 4;

/** HPACK as RFC 7541 tells it, without a thought for speed: what the decoder is held against. */
export class ReferenceHpack {
  readonly #tableBytesMax: number;
  readonly #listBytesMax: number;
  #bytesMax: number;
  #table: Field[] = [];
  #rest: number[] = [];

  constructor(tableBytesMax: number, listBytesMax: number) {
    this.#tableBytesMax = tableBytesMax;
    this.#listBytesMax = listBytesMax;
    this.#bytesMax = tableBytesMax;
  }

  /** @returns name, value, …; undefined where they are too many. @throws where the block is malformed. */
  decode(block: Buffer): string[] | undefined {
    this.#rest = [...block];
    const fields: Field[] = [];
    while (this.#rest.length > 0) {
      const first = this.#next();
      if ((first & 0xe0) === 0x20) {
        if (fields.length > 0) throw new Error("a size update after a field");
        const bytes = this.#integer(first, 5);
        if (bytes > this.#tableBytesMax) throw new Error("a size update over the limit");
        this.#bytesMax = bytes;
        this.#evict();
      } else fields.push(this.#field(first));
    }
    return sizeOf(fields) > this.#listBytesMax ? undefined : fields.flat();
  }

  #field(first: number): Field {
    if (first >= 0x80) return this.#entry(this.#integer(first, 7));
    const isInserted = first >= 0x40;
    const index = this.#integer(first, isInserted ? 6 : 4);
    const name = index === 0 ? this.#string() : this.#entry(index)[0];
    const field: Field = [name, this.#string()];
    if (isInserted) {
      this.#table.unshift(field);
      this.#evict();
    }
    return field;
  }

  #entry(index: number): Field {
    if (index >= 1 && index <= STATIC_ENTRY_COUNT) return [STATIC_NAMES[index]!, STATIC_VALUES[index]!];
    const entry = this.#table[index - STATIC_ENTRY_COUNT - 1];
    if (index === 0 || entry === undefined) throw new Error("no such index");
    return entry;
  }

  #evict(): void {
    while (sizeOf(this.#table) > this.#bytesMax) this.#table.pop();
  }

  #integer(first: number, prefixBits: number): number {
    const mask = 2 ** prefixBits - 1;
    let value = first & mask;
    if (value < mask) return value;
    for (let count = 0; count < INTEGER_BYTES_MAX; count++) {
      const byte = this.#next();
      value += (byte & 0x7f) * 128 ** count;
      if (byte < 0x80) return value;
    }
    throw new Error("an integer that is too long");
  }

  #string(): string {
    const first = this.#next();
    const length = this.#integer(first, 7);
    if (length > this.#rest.length) throw new Error("a text that is cut short");
    const bytes = this.#rest.splice(0, length);
    return first < 0x80 ? Buffer.from(bytes).toString("latin1") : huffmanText(bytes);
  }

  #next(): number {
    const byte = this.#rest.shift();
    if (byte === undefined) throw new Error("a block that is cut short");
    return byte;
  }
}

function huffmanText(bytes: readonly number[]): string {
  const symbols: number[] = [];
  let pending = "";
  for (const bit of bytes
    .map((byte) => byte.toString(2).padStart(8, "0"))
    .join("")
    .split("")) {
    pending += bit;
    const symbol = SYMBOLS.get(pending);
    if (symbol === undefined) continue;
    if (symbol === HUFFMAN_EOS) throw new Error("the EOS symbol");
    symbols.push(symbol);
    pending = "";
  }
  if (pending.length > 7 || pending.includes("0")) throw new Error("padding that is none");
  return Buffer.from(symbols).toString("latin1");
}

function sizeOf(fields: readonly Field[]): number {
  return fields.reduce((bytes, [name, value]) => bytes + name.length + value.length + 32, 0);
}
