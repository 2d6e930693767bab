/**
 * Bodies of `google.bytestream.ByteStream/Write`, encoded once for all blobs of one size: a general gRPC client costs
 * several times what the server costs, and on a machine of two cores it would be the client that is measured.
 */
import { randomUUID } from "node:crypto";
import { type PlannedBlob, STAMP_BYTES } from "./blob-plan.ts";
import type { MessageParts } from "./http2-client/request-body.ts";
import { bytesField, bytesFieldHead, grpcPrefix, varintField } from "./proto-fields.ts";

/** What Bazel puts into one WriteRequest. */
const MESSAGE_DATA_BYTES = 16 * 1024;
const UUID_PLACEHOLDER = "0".repeat(36);
const HASH_PLACEHOLDER = "0".repeat(64);

/**
 * Only the first message's head and the last one's end differ from blob to blob; the rest is sent from where it lies:
 *
 *     │ prefix, resource name │ data │ · │ prefix, offset, data │ · … · │ prefix, offset, data │ stamp │
 *       filled in for each      all bodies share these parts                                  filled in
 */
export class WriteBodyTemplate {
  readonly #messages: readonly MessageParts[];
  readonly #uuidAt: number;
  readonly #hashAt: number;

  /** @throws where the last message would hold less than a stamp, which is filled in as one piece. */
  constructor(content: Buffer) {
    const lastDataBytes = content.length % MESSAGE_DATA_BYTES || MESSAGE_DATA_BYTES;
    if (lastDataBytes < STAMP_BYTES)
      throw new RangeError(`a blob of ${content.length} bytes ends in a message of ${lastDataBytes}`);
    const messages: Buffer[][] = [];
    for (let offset = 0; offset < content.length; offset += MESSAGE_DATA_BYTES) {
      messages.push(encodeWriteRequest(content, offset));
    }
    this.#messages = messages;
    const head = messages[0]?.[0] ?? Buffer.alloc(0);
    this.#uuidAt = head.indexOf(UUID_PLACEHOLDER);
    this.#hashAt = head.indexOf(HASH_PLACEHOLDER, this.#uuidAt + UUID_PLACEHOLDER.length);
  }

  fill(blob: PlannedBlob): MessageParts[] {
    const messages = [...this.#messages];
    const [sharedHead = Buffer.alloc(0), ...rest] = messages[0] ?? [];
    const head = Buffer.from(sharedHead);
    head.write(randomUUID(), this.#uuidAt, "latin1");
    head.write(blob.hash, this.#hashAt, "latin1");
    messages[0] = [head, ...rest];
    messages[messages.length - 1] = [...(messages.at(-1) ?? []), blob.stamp];
    return messages;
  }
}

/** The body for one blob, whatever its size; nothing is shared but the content itself. */
export function wholeWriteBody(content: Buffer, hash: string): MessageParts[] {
  const messages: MessageParts[] = [];
  for (let offset = 0; offset < content.length; offset += MESSAGE_DATA_BYTES) {
    const data = content.subarray(offset, offset + MESSAGE_DATA_BYTES);
    messages.push([encodeHead(content.length, offset, data.length, randomUUID(), hash), data]);
  }
  return messages;
}

/** @returns the first message as its head and its data, others as one part; the last without the stamp at its end. */
function encodeWriteRequest(content: Buffer, offset: number): Buffer[] {
  const data = content.subarray(offset, offset + MESSAGE_DATA_BYTES);
  const head = encodeHead(content.length, offset, data.length, UUID_PLACEHOLDER, HASH_PLACEHOLDER);
  const isLast = offset + data.length === content.length;
  const shared = isLast ? data.subarray(0, -STAMP_BYTES) : data;
  return offset === 0 ? [head, shared] : [Buffer.concat([head, shared])];
}

/** All of a WriteRequest but its data, with its prefix. */
function encodeHead(blobBytes: number, offset: number, dataBytes: number, uuid: string, hash: string): Buffer {
  const isLast = offset + dataBytes === blobBytes;
  const fields = Buffer.concat([
    offset === 0 ? bytesField(1, Buffer.from(`uploads/${uuid}/blobs/${hash}/${blobBytes}`)) : varintField(2, offset),
    isLast ? varintField(3, 1) : Buffer.alloc(0),
    bytesFieldHead(10, dataBytes),
  ]);
  return Buffer.concat([grpcPrefix(fields.length + dataBytes), fields]);
}
