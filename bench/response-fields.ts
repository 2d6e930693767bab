import { GRPC_PREFIX_BYTES } from "./proto-fields.ts";

interface ProtoField {
  readonly number: number;
  /** Of a varint field; 0 for others. */
  readonly value: number;
  /** Of a length-delimited field; empty for others. */
  readonly bytes: Buffer;
}

const NO_BYTES = Buffer.alloc(0);

/** The message of a unary response body. @throws where the body holds anything but one message. */
export function unaryMessage(body: Buffer): Buffer {
  if (body.length < GRPC_PREFIX_BYTES || body.readUInt32BE(1) !== body.length - GRPC_PREFIX_BYTES)
    throw new Error(`expected one message, got ${body.length} bytes that are none`);
  return body.subarray(GRPC_PREFIX_BYTES);
}

/** The fields of a message in order: varints and length-delimited ones, all that the cache's responses are made of. */
export function* protoFields(message: Buffer): Generator<ProtoField> {
  let at = 0;
  const varint = (): number => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = message.readUInt8(at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    const wireType = tag % 8;
    if (wireType === 0) yield { number, value: varint(), bytes: NO_BYTES };
    else if (wireType === 2) {
      const end = varint() + at;
      if (end > message.length) throw new RangeError(`field ${number} passes the end of its message`);
      yield { number, value: 0, bytes: message.subarray(at, end) };
      at = end;
    } else throw new RangeError(`field ${number} has wire type ${wireType}`);
  }
}

/** The value of the first field with this number. */
export function bytesOf(message: Buffer, number: number): Buffer {
  for (const field of protoFields(message)) if (field.number === number) return field.bytes;
  return NO_BYTES;
}

/** Of the first varint field with this number; 0, its default, where there is none. */
export function valueOf(message: Buffer, number: number): number {
  for (const field of protoFields(message)) if (field.number === number) return field.value;
  return 0;
}
