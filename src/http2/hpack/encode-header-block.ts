import { encodeHuffman, huffmanBytes } from "./huffman-encoder.ts";
import { STATIC_NAMES, staticFieldIndex, staticNameIndex } from "./static-table.ts";

const INDEXED_FIELD = 0x80;
const INDEXED_FIELD_MASK = 0x7f;
const LITERAL_WITHOUT_INDEXING = 0x00;
const LITERAL_MASK = 0x0f;
const HUFFMAN = 0x80;
const LENGTH_MASK = 0x7f;

/**
 * A header block that depends on no state, so that it may be made once and sent on any connection: static entries and
 * literals that are not inserted into the peer's table.
 * @param fields names in lower case, values of latin1 characters.
 */
export function encodeHeaderBlock(fields: Iterable<readonly [name: string, value: string]>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of fields) {
    const fieldIndex = staticFieldIndex(name, value);
    if (fieldIndex > 0) {
      parts.push(encodeInteger(INDEXED_FIELD, INDEXED_FIELD_MASK, fieldIndex));
      continue;
    }
    const nameIndex = staticNameIndex(name);
    parts.push(encodeInteger(LITERAL_WITHOUT_INDEXING, LITERAL_MASK, nameIndex));
    if (STATIC_NAMES[nameIndex] !== name) parts.push(encodeString(name));
    parts.push(encodeString(value));
  }
  return Buffer.concat(parts);
}

/**
 * A part of a header block: one field that differs from call to call, uncompressed. To compress what is sent once costs
 * more than to send it.
 * @param value latin1 characters.
 */
export function encodePlainField(name: string, value: string): Buffer {
  const valueHead = encodeInteger(0, LENGTH_MASK, value.length);
  return Buffer.concat([encodedName(name), valueHead, Buffer.from(value, "latin1")]);
}

/** The beginning of a literal field with this name, made once for each of the few names. */
function encodedName(name: string): Buffer {
  let encoded = encodedNames.get(name);
  if (encoded === undefined) {
    encoded = Buffer.concat([encodeInteger(LITERAL_WITHOUT_INDEXING, LITERAL_MASK, 0), encodeString(name)]);
    encodedNames.set(name, encoded);
  }
  return encoded;
}

const encodedNames = new Map<string, Buffer>();

/** Huffman-coded where that is shorter. */
export function encodeString(text: string): Buffer {
  const plain = Buffer.from(text, "latin1");
  const codedBytes = huffmanBytes(plain);
  if (codedBytes >= plain.length) return Buffer.concat([encodeInteger(0, LENGTH_MASK, plain.length), plain]);
  return Buffer.concat([encodeInteger(HUFFMAN, LENGTH_MASK, codedBytes), encodeHuffman(plain)]);
}

/** RFC 7541, section 5.1. @param pattern the bits above the prefix. @param mask the prefix's bits. */
export function encodeInteger(pattern: number, mask: number, value: number): Buffer {
  if (value < mask) return Buffer.from([pattern | value]);
  const bytes = [pattern | mask];
  let rest = value - mask;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}
