/** Wire types of the protobuf encoding; groups are obsolete and only ever skipped. */
export const WIRE_TYPES = {
  varint: 0,
  fixed64: 1,
  lengthDelimited: 2,
  startGroup: 3,
  endGroup: 4,
  fixed32: 5,
} as const;

const GROUP_DEPTH_MAX = 100;

/**
 * Reads one protobuf message in place. Every method throws a `RangeError` or `TypeError` on bytes that are no valid
 * encoding; nothing is read past the end.
 */
export class ProtoWireReader {
  readonly #bytes: Buffer;
  #position = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#position === this.#bytes.length;
  }

  get position(): number {
    return this.#position;
  }

  /** Enters the value that comes next as a field of wire type lengthDelimited. @returns where it ends. */
  enter(): number {
    return this.#lengthDelimitedEnd();
  }

  /** Goes on at a position that {@link enter} has given. */
  moveTo(end: number): void {
    this.#position = end;
  }

  /** Asserts that the fields that were read of a message end where it does. */
  leave(end: number): void {
    if (this.#position !== end) throw new RangeError(`a message that ends at byte ${end} has a field beyond it`);
  }

  /** The next field's `number << 3 | wire type`. */
  tag(): number {
    const tag = this.#uint32();
    if (tag >>> 3 === 0) throw new RangeError(`field number 0 at byte ${this.#position}`);
    return tag;
  }

  bool(): boolean {
    return this.int64() !== 0;
  }

  /** An int64 as the nearest number. */
  int64(): number {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#byte();
      const bits = byte & 0x7f;
      // Bits 28 to 34 straddle the two halves.
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) return high * 0x1_0000_0000 + (low >>> 0);
    }
    throw new RangeError(`varint of more than 10 bytes before byte ${this.#position}`);
  }

  /** An int32 or an enum: the lower half of what was encoded. */
  int32(): number {
    return this.int64() | 0;
  }

  /** The same as {@link string}, faster where it is ASCII. */
  asciiString(): string {
    const end = this.#lengthDelimitedEnd();
    const text = asciiText(this.#bytes, this.#position, end);
    this.#position = end;
    return text;
  }

  string(): string {
    const end = this.#lengthDelimitedEnd();
    const text = this.#bytes.toString("utf8", this.#position, end);
    this.#position = end;
    return text;
  }

  /** A view, not a copy. */
  bytes(): Buffer {
    const end = this.#lengthDelimitedEnd();
    const view = this.#bytes.subarray(this.#position, end);
    this.#position = end;
    return view;
  }

  /** Skips a value of wire type lengthDelimited. @returns its length. */
  skipBytes(): number {
    const end = this.#lengthDelimitedEnd();
    const length = end - this.#position;
    this.#position = end;
    return length;
  }

  /** The length that comes before a value of wire type lengthDelimited, which may end past the bytes at hand. */
  length(): number {
    return this.#uint32();
  }

  /** What is not read yet, as a view. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#position);
  }

  /**
   * Skips a field that the reader of a message does not know.
   * @param known the numbers that it does know: with one of them, the wire type is foreign, which throws.
   */
  skipUnknown(tag: number, known: readonly number[]): void {
    if (known.includes(tag >>> 3)) throw new TypeError(`wire type ${tag & 7} of field ${tag >>> 3}`);
    this.skip(tag);
  }

  /** Skips the value that follows `tag`. */
  skip(tag: number, depth = 0): void {
    switch (tag & 7) {
      case WIRE_TYPES.varint:
        this.int64();
        return;
      case WIRE_TYPES.fixed64:
        this.#advance(8);
        return;
      case WIRE_TYPES.lengthDelimited:
        this.#position = this.#lengthDelimitedEnd();
        return;
      case WIRE_TYPES.startGroup:
        this.#skipGroup(tag >>> 3, depth);
        return;
      case WIRE_TYPES.fixed32:
        this.#advance(4);
        return;
      default:
        throw new TypeError(`wire type ${tag & 7} of field ${tag >>> 3} at byte ${this.#position}`);
    }
  }

  #skipGroup(fieldNumber: number, depth: number): void {
    if (depth >= GROUP_DEPTH_MAX) throw new RangeError(`groups nested deeper than ${GROUP_DEPTH_MAX}`);
    for (;;) {
      const tag = this.tag();
      if ((tag & 7) !== WIRE_TYPES.endGroup) {
        this.skip(tag, depth + 1);
      } else if (tag >>> 3 === fieldNumber) {
        return;
      } else {
        throw new TypeError(`group ${fieldNumber} ended as ${tag >>> 3} at byte ${this.#position}`);
      }
    }
  }

  /** Where the value ends whose length comes next. */
  #lengthDelimitedEnd(): number {
    const length = this.#uint32();
    const end = this.#position + length;
    if (end > this.#bytes.length) {
      throw new RangeError(`a field of ${length} bytes at byte ${this.#position} of ${this.#bytes.length}`);
    }
    return end;
  }

  /** A varint of at most 32 bits. */
  #uint32(): number {
    let value = 0;
    for (let index = 0; index < 5; index++) {
      const byte = this.#byte();
      if (index === 4 && byte > 0x0f) break;
      value |= (byte & 0x7f) << (7 * index);
      if (byte < 0x80) return value >>> 0;
    }
    throw new RangeError(`varint of more than 32 bits before byte ${this.#position}`);
  }

  #byte(): number {
    const byte = this.#bytes[this.#position];
    if (byte === undefined) throw new RangeError(`truncated at byte ${this.#position}`);
    this.#position++;
    return byte;
  }

  #advance(count: number): void {
    const end = this.#position + count;
    if (end > this.#bytes.length) throw new RangeError(`truncated at byte ${this.#bytes.length}`);
    this.#position = end;
  }
}

/** UTF-8 as a string, faster where it is ASCII. */
export function asciiText(bytes: Buffer, start: number, end: number): string {
  let seen = 0;
  for (let at = start; at < end; at++) seen |= bytes[at]!;
  return bytes.toString(seen < 0x80 ? "latin1" : "utf8", start, end);
}
