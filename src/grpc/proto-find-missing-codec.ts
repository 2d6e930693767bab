/**
 * Codecs of FindMissingBlobs, which carries more digests than any other call. Written by hand for the same reason as
 * proto-byte-stream-codec.ts, and held against protobufjs in the same way.
 */
import type { Digest, FindMissingBlobsRequest, FindMissingBlobsResponse } from "./messages.ts";
import { ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";

const INSTANCE_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;
const BLOB_DIGESTS = (2 << 3) | WIRE_TYPES.lengthDelimited;
const DIGEST_FUNCTION = (3 << 3) | WIRE_TYPES.varint;
const MISSING_BLOB_DIGESTS = (2 << 3) | WIRE_TYPES.lengthDelimited;
const DIGEST_HASH = (1 << 3) | WIRE_TYPES.lengthDelimited;
const DIGEST_SIZE = (2 << 3) | WIRE_TYPES.varint;
const VARINT_BYTES_MAX = 10;

/**
 * Stricter than protobufjs: a known field with a foreign wire type is an error.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function decodeFindMissingBlobsRequest(bytes: Buffer): FindMissingBlobsRequest {
  const reader = new ProtoWireReader(bytes);
  const request: FindMissingBlobsRequest = { instance_name: "", blob_digests: [], digest_function: 0 };
  while (!reader.atEnd) {
    const tag = reader.tag();
    if (tag === BLOB_DIGESTS) request.blob_digests.push(readDigest(reader));
    else if (tag === INSTANCE_NAME) request.instance_name = reader.string();
    else if (tag === DIGEST_FUNCTION) request.digest_function = reader.int32();
    else reader.skipUnknown(tag, [1, 2, 3]);
  }
  return request;
}

function readDigest(reader: ProtoWireReader): Digest {
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

/** Hashes are ASCII: digests that are sent have been checked. */
export function encodeFindMissingBlobsResponse({ missing_blob_digests: digests }: FindMissingBlobsResponse): Buffer {
  let bytesMax = 0;
  for (const { hash } of digests) bytesMax += 2 * (1 + VARINT_BYTES_MAX) + 1 + VARINT_BYTES_MAX + hash.length;
  const bytes = Buffer.allocUnsafe(bytesMax);
  let at = 0;
  for (const { hash, size_bytes } of digests) {
    const hashBytes = hash === "" ? 0 : 1 + varintBytes(hash.length) + hash.length;
    const sizeBytes = size_bytes === 0 ? 0 : 1 + varintBytes(size_bytes);
    bytes[at++] = MISSING_BLOB_DIGESTS;
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
  }
  return bytes.subarray(0, at);
}

/** @param value from 0 to 2^53. */
function writeVarint(bytes: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 0x80) {
    bytes[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  bytes[at++] = rest;
  return at;
}

function varintBytes(value: number): number {
  let count = 1;
  for (let rest = Math.floor(value / 0x80); rest > 0; rest = Math.floor(rest / 0x80)) count++;
  return count;
}
