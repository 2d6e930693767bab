/**
 * Codecs of FindMissingBlobs, which carries more digests than any other call. Written by hand for the same reason as
 * proto-byte-stream-codec.ts, and held against protobufjs in the same way.
 */
import type { DigestFunctionName } from "../cache/digest.ts";
import { DigestList } from "../cache/digest-list.ts";
import type { Digest, DigestFunctionNumber, FindMissingBlobsResponse } from "./messages.ts";
import { DIGEST_HASH, DIGEST_SIZE, digestFieldBytes, readDigest, writeDigestField } from "./proto-digest-codec.ts";
import { asciiText, ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";
import { requestDigest } from "./request-digest.ts";

const INSTANCE_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;
const BLOB_DIGESTS = (2 << 3) | WIRE_TYPES.lengthDelimited;
const DIGEST_FUNCTION = (3 << 3) | WIRE_TYPES.varint;
const MISSING_BLOB_DIGESTS = (2 << 3) | WIRE_TYPES.lengthDelimited;

export interface FindMissingBlobsRequest {
  instance_name: string;
  blob_digests: EncodedDigests;
  digest_function: DigestFunctionNumber;
}

/** What stands before the 64 digits of a hash in nearly every digest. */
const HASH_HEAD_BYTES = 2;
const HASH_CHARACTERS = 64;

/**
 * The digests of a request, just as they came: there may be a hundred thousand, and they are read some at a time, so
 * that other calls get their turns.
 */
export class EncodedDigests {
  readonly #bytes: Buffer;
  /** Where each Digest message begins and where it ends. */
  readonly #bounds: number[] = [];

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get count(): number {
    return this.#bounds.length / 2;
  }

  /** @throws {RangeError | TypeError} where there is no encoded Digest message. */
  add(start: number, end: number): void {
    if (plainSize(this.#bytes, start, end) === -1) readDigest(this.#bytes, start, end);
    this.#bounds.push(start, end);
  }

  /** One of them. */
  at(index: number): Digest {
    const start = this.#bounds[index * 2]!;
    const end = this.#bounds[index * 2 + 1]!;
    const size_bytes = plainSize(this.#bytes, start, end);
    if (size_bytes === -1) return readDigest(this.#bytes, start, end);
    const hashAt = start + HASH_HEAD_BYTES;
    return { hash: asciiText(this.#bytes, hashAt, hashAt + HASH_CHARACTERS), size_bytes };
  }

  /**
   * Those from `first` up to `end`, checked.
   * @param named Undefined where the hash of the first digest of all is to tell the function.
   * @throws {CacheError} invalid_argument naming the first one that is none.
   */
  list(first: number, end: number, named: DigestFunctionName | undefined): DigestList {
    const fn = named ?? requestDigest("blob_digests[0]", this.at(0), undefined).fn;
    const list = new DigestList(fn, end - first);
    for (let index = first; index < end; index++) {
      const start = this.#bounds[index * 2]!;
      const sizeBytes = plainSize(this.#bytes, start, this.#bounds[index * 2 + 1]!);
      const isAdded = sizeBytes >= 0 && list.tryAdd(this.#bytes, start + HASH_HEAD_BYTES, HASH_CHARACTERS, sizeBytes);
      if (!isAdded) list.add(requestDigest(`blob_digests[${index}]`, this.at(index), fn));
    }
    return list;
  }
}

/**
 * The size in a Digest message of a hash of 64 bytes and a size, in this order, and nothing else.
 * @returns -1 where it is written in another way.
 */
function plainSize(bytes: Buffer, start: number, end: number): number {
  const sizeAt = start + HASH_HEAD_BYTES + HASH_CHARACTERS;
  const isPlain = bytes[start] === DIGEST_HASH && bytes[start + 1] === HASH_CHARACTERS && bytes[sizeAt] === DIGEST_SIZE;
  if (!isPlain) return -1;
  let size = 0;
  let factor = 1;
  // Of seven bytes: what is longer is no size that a blob can have here.
  for (let at = sizeAt + 1; at < end && factor < 2 ** 49; at++) {
    const byte = bytes[at]!;
    size += (byte & 0x7f) * factor;
    factor *= 0x80;
    if (byte < 0x80) return at + 1 === end ? size : -1;
  }
  return -1;
}

/**
 * Stricter than protobufjs: a known field with a foreign wire type is an error.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function decodeFindMissingBlobsRequest(bytes: Buffer): FindMissingBlobsRequest {
  const reader = new ProtoWireReader(bytes);
  const blob_digests = new EncodedDigests(bytes);
  const request: FindMissingBlobsRequest = { instance_name: "", blob_digests, digest_function: 0 };
  while (!reader.atEnd) {
    const tag = reader.tag();
    if (tag === BLOB_DIGESTS) {
      const end = reader.enter();
      blob_digests.add(reader.position, end);
      reader.moveTo(end);
    } else if (tag === INSTANCE_NAME) request.instance_name = reader.string();
    else if (tag === DIGEST_FUNCTION) request.digest_function = reader.int32();
    else reader.skipUnknown(tag, [1, 2, 3]);
  }
  return request;
}

/** Hashes are ASCII: digests that are sent have been checked. */
export function encodeFindMissingBlobsResponse({ missing_blob_digests: digests }: FindMissingBlobsResponse): Buffer {
  let byteCount = 0;
  for (const digest of digests) byteCount += digestFieldBytes(digest);
  const bytes = Buffer.allocUnsafe(byteCount);
  let at = 0;
  for (const digest of digests) at = writeDigestField(bytes, at, MISSING_BLOB_DIGESTS, digest);
  return bytes;
}
