import { hash, randomUUID } from "node:crypto";

/** Field numbers of ReadRequest and WriteRequest, see proto/google/bytestream. */
const RESOURCE_NAME = 1;
const WRITE_OFFSET = 2;
const FINISH_WRITE = 3;
const DATA = 10;

const MESSAGE_BYTES = 64 * 1024;
const LENGTH_DELIMITED = 2;

/** The body of a call with one message: the length in 5 bytes, then the message. */
export function grpcBody(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** All requests of a `ByteStream.Write`. */
export function writeBody(blob: Buffer): Buffer {
  const name = bytesField(RESOURCE_NAME, Buffer.from(`uploads/${randomUUID()}/blobs/${nameOf(blob)}`));
  const messages: Buffer[] = [];
  for (let at = 0; at < blob.length; at += MESSAGE_BYTES) {
    const data = bytesField(DATA, blob.subarray(at, at + MESSAGE_BYTES));
    const isLast = at + MESSAGE_BYTES >= blob.length;
    const numbers = [numberField(WRITE_OFFSET, at), numberField(FINISH_WRITE, Number(isLast))];
    messages.push(grpcBody(Buffer.concat([name, ...numbers, data])));
  }
  return Buffer.concat(messages);
}

export function readBody(blob: Buffer): Buffer {
  return grpcBody(bytesField(RESOURCE_NAME, Buffer.from(`blobs/${nameOf(blob)}`)));
}

/** The data of all responses of a `ByteStream.Read`, which have no other field. */
export function dataOfReadResponses(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    // The tag takes one byte, the length as many as have their highest bit set, and one more.
    let dataAt = at + 6;
    while (body[dataAt]! >= 0x80) dataAt++;
    parts.push(body.subarray(dataAt + 1, end));
    at = end;
  }
  return Buffer.concat(parts);
}

function nameOf(blob: Buffer): string {
  return `${hash("sha256", blob)}/${blob.length}`;
}

function bytesField(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | LENGTH_DELIMITED]), varint(bytes.length), bytes]);
}

function numberField(field: number, value: number): Buffer {
  return Buffer.concat([Buffer.from([field << 3]), varint(value)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Buffer.from([...bytes, rest]);
}
