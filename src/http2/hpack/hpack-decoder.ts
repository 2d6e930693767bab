import { ConnectionError, ERROR_CODE } from "../error-code.ts";
import { HeaderFields } from "../header-fields.ts";
import { DynamicTable, ENTRY_OVERHEAD_BYTES } from "./dynamic-table.ts";
import { decodeHuffman } from "./huffman-decoder.ts";
import { STATIC_ENTRY_COUNT, STATIC_NAMES, STATIC_VALUES } from "./static-table.ts";

const NO_BYTES = Buffer.alloc(0);

export interface HpackDecoderOptions {
  /** The SETTINGS_HEADER_TABLE_SIZE that the peer was told, in bytes. */
  readonly tableBytesMax: number;
  /** Fields of one block together, counted as RFC 9113, section 6.5.2 says. */
  readonly listBytesMax: number;
}

/** Longest integer taken: 5 bytes with the prefix, up to 2^28. What needs more is an attack or a mistake. */
const INTEGER_SHIFT_MAX = 21;
const CACHED_BLOCK_BYTES_MAX = 512;
const CACHED_BLOCKS_MAX = 64;

interface CachedBlock {
  readonly fields: HeaderFields;
  /** Generation of the dynamic table for which it holds; undefined where the block refers to static entries only. */
  readonly generation: number | undefined;
}

/**
 * Decodes the header blocks of one connection in the order in which they arrive (RFC 7541).
 *
 * Clients send the same few blocks again and again, so blocks that leave the dynamic table as it is are kept by their
 * bytes. One that refers to the dynamic table holds only while the table does not change; one that inserts or resizes
 * is never kept, because skipping it would skip the change.
 */
export class HpackDecoder {
  readonly #table: DynamicTable;
  readonly #tableBytesMax: number;
  readonly #listBytesMax: number;
  readonly #cache = new Map<string, CachedBlock>();
  // The block in hand.
  #bytes: Buffer = NO_BYTES;
  #at = 0;
  #end = 0;
  #list: string[] = [];
  #listBytes = 0;
  #usesTable = false;
  #changesTable = false;

  constructor({ tableBytesMax, listBytesMax }: HpackDecoderOptions) {
    this.#table = new DynamicTable(tableBytesMax);
    this.#tableBytesMax = tableBytesMax;
    this.#listBytesMax = listBytesMax;
  }

  /**
   * @returns the fields of the complete block in `bytes` from `start` to `end`; undefined where they exceed
   * `listBytesMax`: then the table is up to date all the same and the connection usable.
   * @throws {ConnectionError} COMPRESSION_ERROR; the table is then unusable.
   */
  decode(bytes: Buffer, start: number, end: number): HeaderFields | undefined {
    if (end - start > CACHED_BLOCK_BYTES_MAX) return this.#decodeBlock(bytes, start, end);
    const key = bytes.toString("latin1", start, end);
    const cached = this.#cache.get(key);
    if (cached !== undefined && (cached.generation ?? this.#table.generation) === this.#table.generation) {
      return cached.fields;
    }
    const fields = this.#decodeBlock(bytes, start, end);
    if (fields !== undefined && !this.#changesTable) {
      if (this.#cache.size >= CACHED_BLOCKS_MAX) this.#cache.clear();
      this.#cache.set(key, { fields, generation: this.#usesTable ? this.#table.generation : undefined });
    }
    return fields;
  }

  #decodeBlock(bytes: Buffer, start: number, end: number): HeaderFields | undefined {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.#list = [];
    this.#listBytes = 0;
    this.#usesTable = false;
    this.#changesTable = false;
    while (this.#at < end) this.#representation(bytes[this.#at++]!);
    return this.#listBytes > this.#listBytesMax ? undefined : new HeaderFields(this.#list);
  }

  /** One representation (section 6); `first` is its first byte. */
  #representation(first: number): void {
    if (first >= 0x80) {
      this.#indexedField(this.#integer(first, 0x7f));
    } else if (first >= 0x40) {
      const name = this.#fieldName(this.#integer(first, 0x3f));
      const value = this.#string();
      this.#changesTable = true;
      this.#table.insert(name, value);
      this.#emit(name, value);
    } else if (first >= 0x20) {
      this.#resize(this.#integer(first, 0x1f));
    } else {
      const name = this.#fieldName(this.#integer(first, 0x0f));
      this.#emit(name, this.#string());
    }
  }

  #indexedField(index: number): void {
    if (index === 0) throw compressionError("index 0");
    if (index <= STATIC_ENTRY_COUNT) {
      this.#emit(STATIC_NAMES[index]!, STATIC_VALUES[index]!);
      return;
    }
    const dynamicIndex = this.#dynamicIndex(index);
    this.#emit(this.#table.nameAt(dynamicIndex), this.#table.valueAt(dynamicIndex));
  }

  #fieldName(index: number): string {
    if (index === 0) return this.#string();
    if (index <= STATIC_ENTRY_COUNT) return STATIC_NAMES[index]!;
    return this.#table.nameAt(this.#dynamicIndex(index));
  }

  #dynamicIndex(index: number): number {
    const dynamicIndex = index - STATIC_ENTRY_COUNT - 1;
    if (dynamicIndex >= this.#table.count) throw compressionError(`index ${index} past the end of the table`);
    this.#usesTable = true;
    return dynamicIndex;
  }

  #resize(bytesMax: number): void {
    if (this.#list.length > 0 || this.#listBytes > 0) throw compressionError("table size update after a field");
    if (bytesMax > this.#tableBytesMax) throw compressionError(`table size ${bytesMax} over ${this.#tableBytesMax}`);
    this.#changesTable = true;
    this.#table.resize(bytesMax);
  }

  /** Past the limit fields are only counted: a small block can refer to a large entry thousands of times. */
  #emit(name: string, value: string): void {
    this.#listBytes += name.length + value.length + ENTRY_OVERHEAD_BYTES;
    if (this.#listBytes <= this.#listBytesMax) this.#list.push(name, value);
  }

  /** Section 5.1. @param mask of the prefix's bits in `first`. */
  #integer(first: number, mask: number): number {
    let value = first & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= INTEGER_SHIFT_MAX; shift += 7) {
      const byte = this.#next();
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw compressionError("integer too long");
  }

  /** Section 5.2. */
  #string(): string {
    const first = this.#next();
    const length = this.#integer(first, 0x7f);
    const start = this.#at;
    if (length > this.#end - start) throw compressionError("text past the end of the block");
    this.#at += length;
    if (first < 0x80) return this.#bytes.toString("latin1", start, this.#at);
    const text = decodeHuffman(this.#bytes, start, this.#at);
    if (text === undefined) throw compressionError("malformed Huffman code");
    return text;
  }

  #next(): number {
    if (this.#at >= this.#end) throw compressionError("block cut short");
    return this.#bytes[this.#at++]!;
  }
}

function compressionError(message: string): ConnectionError {
  return new ConnectionError(ERROR_CODE.compressionError, `header block: ${message}`);
}
