/**
 * Codecs of BatchUpdateBlobs, written by hand for the same reason as proto-byte-stream-codec.ts, and held against
 * protobufjs in the same way.
 */
import { GRPC_STATUS } from "./grpc-status.ts";
import type {
  BatchUpdateBlobsRequest,
  BatchUpdateBlobsRequestEntry,
  BatchUpdateBlobsResponse,
  Digest,
} from "./messages.ts";
import { batchUpdateBlobsResponseCodec } from "./proto-definitions.ts";
import { digestFieldBytes, readDigest, varintBytes, writeDigestField, writeVarint } from "./proto-digest-codec.ts";
import { ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";

const INSTANCE_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;
const REQUESTS = (2 << 3) | WIRE_TYPES.lengthDelimited;
const DIGEST_FUNCTION = (5 << 3) | WIRE_TYPES.varint;
const REQUEST_DIGEST = (1 << 3) | WIRE_TYPES.lengthDelimited;
const REQUEST_DATA = (2 << 3) | WIRE_TYPES.lengthDelimited;
const REQUEST_COMPRESSOR = (3 << 3) | WIRE_TYPES.varint;
const RESPONSES = (1 << 3) | WIRE_TYPES.lengthDelimited;
const RESPONSE_DIGEST = (1 << 3) | WIRE_TYPES.lengthDelimited;
const RESPONSE_STATUS = (2 << 3) | WIRE_TYPES.lengthDelimited;
/** Of a status that is OK: its fields all have their default values. */
const OK_STATUS_BYTES = 2;
const NO_BYTES = Buffer.alloc(0);

/**
 * `data` are views of `bytes`. Stricter than protobufjs: a known field with a foreign wire type is an error.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function decodeBatchUpdateBlobsRequest(bytes: Buffer): BatchUpdateBlobsRequest {
  const reader = new ProtoWireReader(bytes);
  const request: BatchUpdateBlobsRequest = { instance_name: "", requests: [], digest_function: 0 };
  while (!reader.atEnd) {
    const tag = reader.tag();
    if (tag === REQUESTS) request.requests.push(readEntry(bytes, reader));
    else if (tag === INSTANCE_NAME) request.instance_name = reader.string();
    else if (tag === DIGEST_FUNCTION) request.digest_function = reader.int32();
    else reader.skipUnknown(tag, [1, 2, 5]);
  }
  return request;
}

function readEntry(bytes: Buffer, reader: ProtoWireReader): BatchUpdateBlobsRequestEntry {
  const entry: BatchUpdateBlobsRequestEntry = { digest: null, data: NO_BYTES, compressor: 0 };
  const end = reader.enter();
  while (reader.position < end) {
    const tag = reader.tag();
    if (tag === REQUEST_DIGEST) {
      const digestEnd = reader.enter();
      entry.digest = readDigest(bytes, reader.position, digestEnd);
      reader.moveTo(digestEnd);
    } else if (tag === REQUEST_DATA) entry.data = reader.bytes();
    else if (tag === REQUEST_COMPRESSOR) entry.compressor = reader.int32();
    else reader.skipUnknown(tag, [1, 2, 3]);
  }
  reader.leave(end);
  return entry;
}

/** What is not simply stored, which is rare, is left to protobufjs: repeated fields can be encoded one by one. */
export function encodeBatchUpdateBlobsResponse({ responses }: BatchUpdateBlobsResponse): Buffer {
  const parts: Buffer[] = [];
  let stored: Digest[] = [];
  for (const response of responses) {
    if (response.status?.code === GRPC_STATUS.ok && response.digest !== null) {
      stored.push(response.digest);
    } else {
      parts.push(encodeStored(stored), batchUpdateBlobsResponseCodec.encode({ responses: [response] }));
      stored = [];
    }
  }
  return parts.length === 0 ? encodeStored(stored) : Buffer.concat([...parts, encodeStored(stored)]);
}

function encodeStored(digests: readonly Digest[]): Buffer {
  let byteCount = 0;
  for (const digest of digests) {
    const length = digestFieldBytes(digest) + OK_STATUS_BYTES;
    byteCount += 1 + varintBytes(length) + length;
  }
  const bytes = Buffer.allocUnsafe(byteCount);
  let at = 0;
  for (const digest of digests) {
    bytes[at++] = RESPONSES;
    at = writeVarint(bytes, at, digestFieldBytes(digest) + OK_STATUS_BYTES);
    at = writeDigestField(bytes, at, RESPONSE_DIGEST, digest);
    bytes[at++] = RESPONSE_STATUS;
    bytes[at++] = 0;
  }
  return bytes;
}
