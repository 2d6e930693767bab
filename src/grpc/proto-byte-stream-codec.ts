/**
 * Codecs of the messages around blobs that are streamed. They are written by hand because protobufjs spends more on the objects
 * around `data` than the bytes themselves cost (DESIGN 9); `test/grpc/proto-byte-stream-codec.test.ts` holds them
 * against protobufjs.
 */
import type { ReadRequest, ReadResponse, WriteRequest } from "./byte-stream-messages.ts";
import type { Encodable } from "./google-messages.ts";
import { asBuffer } from "./proto-definitions.ts";
import type { PartDecoder } from "./transport/handler.ts";
import { ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";

const READ_RESOURCE_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;
const READ_OFFSET = (2 << 3) | WIRE_TYPES.varint;
const READ_LIMIT = (3 << 3) | WIRE_TYPES.varint;
const WRITE_RESOURCE_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;
const WRITE_OFFSET = (2 << 3) | WIRE_TYPES.varint;
const WRITE_FINISH = (3 << 3) | WIRE_TYPES.varint;
const DATA = (10 << 3) | WIRE_TYPES.lengthDelimited;

/** Encoders write data last; a message of a version to come may have a little more. */
const TAIL_BYTES_MAX = 1024;
const NO_BYTES = Buffer.alloc(0);

/**
 * Stricter than protobufjs: a known field with a foreign wire type is an error.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function decodeReadRequest(bytes: Buffer): ReadRequest {
  const reader = new ProtoWireReader(bytes);
  const request: ReadRequest = { resource_name: "", read_offset: 0, read_limit: 0 };
  while (!reader.atEnd) {
    const tag = reader.tag();
    if (tag === READ_RESOURCE_NAME) request.resource_name = reader.asciiString();
    else if (tag === READ_OFFSET) request.read_offset = reader.int64();
    else if (tag === READ_LIMIT) request.read_limit = reader.int64();
    else reader.skipUnknown(tag, [1, 2, 3]);
  }
  return request;
}

/**
 * `data` is a view of `bytes`. Stricter than protobufjs: a known field with a foreign wire type is an error.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function decodeWriteRequest(bytes: Buffer): WriteRequest {
  const reader = new ProtoWireReader(bytes);
  const request: WriteRequest = { resource_name: "", write_offset: 0, finish_write: false, data: NO_BYTES };
  while (!reader.atEnd) readWriteField(reader, reader.tag(), request);
  return request;
}

/**
 * Takes a WriteRequest as several, one for each part of its bytes that is received: the data of a message may be split
 * anywhere, as long as each part says where it belongs. So data need not be copied together before it is staged.
 */
export class WriteRequestParts implements PartDecoder<WriteRequest> {
  #offset = 0;
  #dataLeft = 0;
  #finishWrite = false;
  /** What follows the data; usually nothing. */
  #tail: Buffer = NO_BYTES;

  /** Only where everything that has to be known of the data comes before it, as encoders write it. */
  begin(bytes: Buffer): WriteRequest | undefined {
    const reader = new ProtoWireReader(bytes);
    const request: WriteRequest = { resource_name: "", write_offset: 0, finish_write: false, data: NO_BYTES };
    try {
      for (let tag = reader.tag(); tag !== DATA; tag = reader.tag()) readWriteField(reader, tag, request);
      this.#dataLeft = reader.length();
    } catch {
      // Cut short or malformed: the whole message will tell.
      return undefined;
    }
    const rest = reader.rest();
    if ((request.resource_name === "" && request.write_offset <= 0) || rest.length > this.#dataLeft) return undefined;
    this.#finishWrite = request.finish_write;
    this.#offset = request.write_offset;
    this.#tail = NO_BYTES;
    return { ...request, finish_write: false, data: this.#take(rest) };
  }

  keep(request: WriteRequest): WriteRequest {
    return { ...request, data: Buffer.from(request.data) };
  }

  /** @throws {RangeError | TypeError} where the message is malformed. */
  continue(bytes: Buffer, isLast: boolean): WriteRequest | undefined {
    const write_offset = this.#offset;
    const data = this.#take(bytes);
    if (data.length < bytes.length) this.#addTail(bytes.subarray(data.length));
    if (isLast) this.#end();
    else if (data.length === 0) return undefined;
    return { resource_name: "", write_offset, finish_write: isLast && this.#finishWrite, data };
  }

  #take(bytes: Buffer): Buffer {
    const data = bytes.length <= this.#dataLeft ? bytes : bytes.subarray(0, this.#dataLeft);
    this.#dataLeft -= data.length;
    this.#offset += data.length;
    return data;
  }

  #addTail(bytes: Buffer): void {
    this.#tail = Buffer.concat([this.#tail, bytes]);
    if (this.#tail.length > TAIL_BYTES_MAX) throw new RangeError(`more than ${TAIL_BYTES_MAX} bytes after data`);
  }

  #end(): void {
    if (this.#dataLeft > 0) throw new RangeError(`data ends ${this.#dataLeft} bytes after the message`);
    if (this.#tail.length === 0) return;
    const { resource_name, write_offset, finish_write, data } = decodeWriteRequest(this.#tail);
    if (resource_name !== "" || write_offset !== 0 || data.length > 0) throw new TypeError("a field after data");
    this.#finishWrite ||= finish_write;
  }
}

function readWriteField(reader: ProtoWireReader, tag: number, request: WriteRequest): void {
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
      reader.skipUnknown(tag, [1, 2, 3, 10]);
  }
}

/** Copies `data` once, into the message. */
export function encodeReadResponse(response: Encodable<ReadResponse>): Buffer {
  return Buffer.concat(readResponsePieces(response));
}

/** The same message without a copy: `data` is the last piece. */
export function readResponsePieces(response: Encodable<ReadResponse>): readonly Buffer[] {
  const data = response.data ?? NO_BYTES;
  if (data.length === 0) return [];
  const lengthBytes = varintBytes(data.length);
  const head = Buffer.allocUnsafe(1 + lengthBytes);
  head[0] = DATA;
  let length = data.length;
  for (let index = 1; index < lengthBytes; index++) {
    head[index] = (length & 0x7f) | 0x80;
    length >>>= 7;
  }
  head[lengthBytes] = length;
  return [head, asBuffer(data)];
}

function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) count++;
  return count;
}
