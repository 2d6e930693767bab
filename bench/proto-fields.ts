/** Fields of the protobuf wire format and gRPC's length prefix, as far as requests need them. */
export const GRPC_PREFIX_BYTES = 5;

export function grpcMessage(message: Buffer): Buffer {
  return Buffer.concat([grpcPrefix(message.length), message]);
}

export function grpcPrefix(messageBytes: number): Buffer {
  const prefix = Buffer.alloc(GRPC_PREFIX_BYTES);
  prefix.writeUInt32BE(messageBytes, 1);
  return prefix;
}

export function varintField(number: number, value: number): Buffer {
  return Buffer.concat([varint(number << 3), varint(value)]);
}

export function bytesField(number: number, value: Buffer): Buffer {
  return Buffer.concat([bytesFieldHead(number, value.length), value]);
}

/** What stands in front of the value. */
export function bytesFieldHead(number: number, valueBytes: number): Buffer {
  return Buffer.concat([varint((number << 3) | 2), varint(valueBytes)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}
