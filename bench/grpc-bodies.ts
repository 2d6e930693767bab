/**
 * Request bodies of `google.bytestream`, encoded by hand: a general gRPC client costs several times what the server
 * costs, and on a machine of two cores it would be the client that is measured.
 */
import { randomUUID } from "node:crypto";
import { type BlobPlan, type PlannedBlob, STAMP_BYTES } from "./blob-plan.ts";

/** What Bazel puts into one WriteRequest. */
const MESSAGE_DATA_BYTES = 16 * 1024;
const GRPC_PREFIX_BYTES = 5;
const UUID_PLACEHOLDER = "0".repeat(36);
const HASH_PLACEHOLDER = "0".repeat(64);

/** The body of a Write call for all blobs of one size; uuid, hash and stamp are filled in for each. */
export class WriteBodyTemplate {
  readonly #template: Buffer;
  readonly #uuidAt: number;
  readonly #hashAt: number;

  /** @throws where the last message would hold less than a stamp, which is filled in as one piece. */
  constructor(content: Buffer) {
    const lastDataBytes = content.length % MESSAGE_DATA_BYTES || MESSAGE_DATA_BYTES;
    if (lastDataBytes < STAMP_BYTES)
      throw new RangeError(`a blob of ${content.length} bytes ends in a message of ${lastDataBytes}`);
    const name = `uploads/${UUID_PLACEHOLDER}/blobs/${HASH_PLACEHOLDER}/${content.length}`;
    const messages: Buffer[] = [];
    for (let offset = 0; offset === 0 || offset < content.length; offset += MESSAGE_DATA_BYTES) {
      const data = content.subarray(offset, offset + MESSAGE_DATA_BYTES);
      const fields: Buffer[] = [];
      if (offset === 0) fields.push(bytesField(1, Buffer.from(name)));
      else fields.push(varintField(2, offset));
      if (offset + data.length === content.length) fields.push(varintField(3, 1));
      fields.push(bytesField(10, data));
      messages.push(grpcMessage(Buffer.concat(fields)));
    }
    this.#template = Buffer.concat(messages);
    this.#uuidAt = this.#template.indexOf(UUID_PLACEHOLDER);
    this.#hashAt = this.#template.indexOf(HASH_PLACEHOLDER, this.#uuidAt + UUID_PLACEHOLDER.length);
  }

  fill(blob: PlannedBlob): Buffer {
    const body = Buffer.allocUnsafeSlow(this.#template.length);
    this.#template.copy(body);
    body.write(randomUUID(), this.#uuidAt, "latin1");
    body.write(blob.hash, this.#hashAt, "latin1");
    // Data is the last field of the last message, and the stamp the end of the data.
    blob.stamp.copy(body, body.length - blob.stamp.length);
    return body;
  }
}

export function readBody(blob: PlannedBlob): Buffer {
  return grpcMessage(bytesField(1, Buffer.from(`blobs/${blob.hash}/${blob.sizeBytes}`)));
}

/** `committed_size` of the WriteResponse in a response body. */
export function committedSize(body: Buffer): number {
  let value = 0;
  for (let at = GRPC_PREFIX_BYTES + 1, scale = 1; at < body.length; at++, scale *= 128) {
    const byte = body.readUInt8(at);
    value += (byte & 127) * scale;
    if (byte < 128) break;
  }
  return value;
}

/** Whether a response body of ReadResponses holds exactly the blob; with `whole` every byte of it is compared. */
export function holdsBlob(body: Buffer, blob: PlannedBlob, plan: BlobPlan, whole: boolean): boolean {
  const content = plan.content(blob.classIndex);
  const stampAt = blob.sizeBytes - blob.stamp.length;
  let offset = 0;
  for (const data of readResponses(body)) {
    if (whole) {
      const plain = Math.max(0, Math.min(data.length, stampAt - offset));
      if (data.compare(content, offset, offset + plain, 0, plain) !== 0) return false;
    }
    offset += data.length;
  }
  return offset === blob.sizeBytes && body.subarray(body.length - blob.stamp.length).equals(blob.stamp);
}

/** The `data` of each ReadResponse, its only field. */
function* readResponses(body: Buffer): Generator<Buffer> {
  for (let at = 0; at < body.length;) {
    const end = at + GRPC_PREFIX_BYTES + body.readUInt32BE(at + 1);
    let dataAt = at + GRPC_PREFIX_BYTES + 1;
    while (dataAt < end && body.readUInt8(dataAt) >= 128) dataAt++;
    yield body.subarray(dataAt + 1, end);
    at = end;
  }
}

function grpcMessage(message: Buffer): Buffer {
  const prefix = Buffer.alloc(GRPC_PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function varintField(number: number, value: number): Buffer {
  return Buffer.concat([varint(number << 3), varint(value)]);
}

function bytesField(number: number, value: Buffer): Buffer {
  return Buffer.concat([varint((number << 3) | 2), varint(value.length), value]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}
