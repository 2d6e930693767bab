/**
 * Codecs of the two messages that carry blobs. They are written by hand because protobufjs spends more on the objects
 * around `data` than the bytes themselves cost (DESIGN 9); `test/grpc/proto-byte-stream-codec.test.ts` holds them
 * against protobufjs.
 */
import type { ReadResponse, WriteRequest } from "./byte-stream-messages.ts";
import type { Encodable } from "./google-messages.ts";
import { ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";

const WRITE_RESOURCE_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;
const WRITE_OFFSET = (2 << 3) | WIRE_TYPES.varint;
const WRITE_FINISH = (3 << 3) | WIRE_TYPES.varint;
const DATA = (10 << 3) | WIRE_TYPES.lengthDelimited;

const NO_BYTES = Buffer.alloc(0);

/**
 * `data` is a view of `bytes`. Stricter than protobufjs: a known field with a foreign wire type is an error.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function decodeWriteRequest(bytes: Buffer): WriteRequest {
  const reader = new ProtoWireReader(bytes);
  const request: WriteRequest = { resource_name: "", write_offset: 0, finish_write: false, data: NO_BYTES };
  while (!reader.atEnd) {
    const tag = reader.tag();
    switch (tag) {
      case WRITE_RESOURCE_NAME:
        request.resource_name = reader.string();
        break;
      case WRITE_OFFSET:
        request.write_offset = reader.int64();
        break;
      case WRITE_FINISH:
        request.finish_write = reader.bool();
        break;
      case DATA:
        request.data = reader.bytes();
        break;
      default:
        skipUnknown(reader, tag);
    }
  }
  return request;
}

function skipUnknown(reader: ProtoWireReader, tag: number): void {
  const fieldNumber = tag >>> 3;
  if (fieldNumber <= 3 || fieldNumber === 10) {
    throw new TypeError(`wire type ${tag & 7} of field ${fieldNumber}`);
  }
  reader.skip(tag);
}

/** Copies `data` once, into the message. */
export function encodeReadResponse(response: Encodable<ReadResponse>): Buffer {
  const data = response.data ?? NO_BYTES;
  if (data.length === 0) return NO_BYTES;
  const lengthBytes = varintBytes(data.length);
  const message = Buffer.allocUnsafe(1 + lengthBytes + data.length);
  message[0] = DATA;
  let length = data.length;
  for (let index = 1; index < lengthBytes; index++) {
    message[index] = (length & 0x7f) | 0x80;
    length >>>= 7;
  }
  message[lengthBytes] = length;
  message.set(data, 1 + lengthBytes);
  return message;
}

function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) count++;
  return count;
}
