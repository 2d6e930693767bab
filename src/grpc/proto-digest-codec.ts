/** The Digest message, by itself and inside of others; held against protobufjs by the tests of those. */
import type { Digest } from "./messages.ts";
import { ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";

export const DIGEST_HASH = (1 << 3) | WIRE_TYPES.lengthDelimited;
export const DIGEST_SIZE = (2 << 3) | WIRE_TYPES.varint;
const VARINT_BYTES_MAX = 10;

/** @throws {RangeError | TypeError} where there is no encoded Digest message from `start` to `end`. */
export function readDigest(bytes: Buffer, start: number, end: number): Digest {
  const reader = new ProtoWireReader(bytes.subarray(start, end));
  const digest: Digest = { hash: "", size_bytes: 0 };
  while (!reader.atEnd) {
    const tag = reader.tag();
    if (tag === DIGEST_HASH) digest.hash = reader.asciiString();
    else if (tag === DIGEST_SIZE) digest.size_bytes = reader.int64();
    else reader.skipUnknown(tag, [1, 2]);
  }
  return digest;
}

/** A digest that is a field of the message in hand. @throws {RangeError | TypeError} where it is malformed. */
export function readDigestField(reader: ProtoWireReader): Digest {
  const digest: Digest = { hash: "", size_bytes: 0 };
  const end = reader.enter();
  while (reader.position < end) {
    const tag = reader.tag();
    if (tag === DIGEST_HASH) digest.hash = reader.asciiString();
    else if (tag === DIGEST_SIZE) digest.size_bytes = reader.int64();
    else reader.skipUnknown(tag, [1, 2]);
  }
  reader.leave(end);
  return digest;
}

/** Bytes that {@link writeAnyDigest} writes at the most. */
export function anyDigestBytesMax({ hash }: Digest): number {
  return 2 * (1 + VARINT_BYTES_MAX) + 3 * hash.length;
}

/**
 * Writes a digest as a client sent it: of any text and size. Fields that have their default value are left out.
 * @returns where the next byte belongs.
 */
export function writeAnyDigest(bytes: Buffer, start: number, { hash, size_bytes }: Digest): number {
  let at = start;
  if (hash !== "") {
    bytes[at++] = DIGEST_HASH;
    at = writeVarint(bytes, at, Buffer.byteLength(hash));
    at += bytes.write(hash, at);
  }
  if (size_bytes === 0) return at;
  bytes[at++] = DIGEST_SIZE;
  return size_bytes < 0 ? writeNegative(bytes, at, size_bytes) : writeVarint(bytes, at, size_bytes);
}

/** Bytes of a checked digest as a field with a tag of one byte. */
export function digestFieldBytes(digest: Digest): number {
  const length = hashFieldBytes(digest) + sizeFieldBytes(digest);
  return 1 + varintBytes(length) + length;
}

/**
 * @param tag of one byte.
 * @param digest that was checked: its hash is ASCII, its size from 0 to 2^53.
 * @returns where the field ends.
 */
export function writeDigestField(bytes: Buffer, start: number, tag: number, digest: Digest): number {
  const { hash, size_bytes } = digest;
  const hashBytes = hashFieldBytes(digest);
  const sizeBytes = sizeFieldBytes(digest);
  let at = start;
  bytes[at++] = tag;
  at = writeVarint(bytes, at, hashBytes + sizeBytes);
  if (hashBytes > 0) {
    bytes[at++] = DIGEST_HASH;
    at = writeVarint(bytes, at, hash.length);
    at += bytes.write(hash, at, "latin1");
  }
  if (sizeBytes > 0) {
    bytes[at++] = DIGEST_SIZE;
    at = writeVarint(bytes, at, size_bytes);
  }
  return at;
}

function hashFieldBytes({ hash }: Digest): number {
  return hash === "" ? 0 : 1 + varintBytes(hash.length) + hash.length;
}

function sizeFieldBytes({ size_bytes }: Digest): number {
  return size_bytes === 0 ? 0 : 1 + varintBytes(size_bytes);
}

/** @param value from 0 to 2^53. */
export function writeVarint(bytes: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 0x80) {
    bytes[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  bytes[at++] = rest;
  return at;
}

export function varintBytes(value: number): number {
  let count = 1;
  for (let rest = Math.floor(value / 0x80); rest > 0; rest = Math.floor(rest / 0x80)) count++;
  return count;
}

/** As an int64: ten bytes. */
function writeNegative(bytes: Buffer, start: number, value: number): number {
  let at = start;
  for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
    if (rest < 0x80n) {
      bytes[at++] = Number(rest);
      return at;
    }
    bytes[at++] = Number(rest & 0x7fn) | 0x80;
  }
}
