import { encodeHeaderBlock, encodePlainField } from "../../http2/hpack/encode-header-block.ts";
import type { Status } from "../google-messages.ts";
import { GRPC_STATUS, statusDetailsTrailer } from "../grpc-status.ts";

type Fields = readonly (readonly [name: string, value: string])[];

const RESPONSE_FIELDS: Fields = [
  [":status", "200"],
  ["content-type", "application/grpc"],
  ["grpc-accept-encoding", "identity,gzip"],
];

/** Header blocks that every call sends, made once. */
export const RESPONSE_BLOCK = encodeHeaderBlock(RESPONSE_FIELDS);
export const OK_TRAILERS_BLOCK = encodeHeaderBlock([["grpc-status", String(GRPC_STATUS.ok)]]);
/** A call that succeeds without a response message. */
export const EMPTY_OK_BLOCK = encodeHeaderBlock([...RESPONSE_FIELDS, ["grpc-status", String(GRPC_STATUS.ok)]]);

/** How a call ends. @param isOnlyBlock there was no response before: the trailers are the whole response. */
export function statusBlock(status: Status, isOnlyBlock: boolean): Buffer {
  const parts = [statusHead(status.code, isOnlyBlock)];
  if (status.message !== "") parts.push(encodePlainField("grpc-message", percentEncode(status.message)));
  const details = statusDetailsTrailer(status);
  if (details !== undefined) {
    parts.push(encodePlainField("grpc-status-details-bin", details.toString("base64").replace(/=+$/, "")));
  }
  return Buffer.concat(parts);
}

/** What all calls with this outcome send, made once. */
function statusHead(code: number, isOnlyBlock: boolean): Buffer {
  const heads = isOnlyBlock ? ONLY_BLOCK_HEADS : TRAILERS_HEADS;
  let head = heads.get(code);
  if (head === undefined) {
    head = encodeHeaderBlock([...(isOnlyBlock ? RESPONSE_FIELDS : []), ["grpc-status", String(code)]]);
    heads.set(code, head);
  }
  return head;
}

/** By code, of which there are few. */
const ONLY_BLOCK_HEADS = new Map<number, Buffer>();
const TRAILERS_HEADS = new Map<number, Buffer>();
const PLAIN_MESSAGE = /^[!-$&-~](?:[ -$&-~]*[!-$&-~])?$/;

/** UTF-8 with everything but printable ASCII as `%XX`, and the percent sign, too. */
function percentEncode(message: string): string {
  if (PLAIN_MESSAGE.test(message)) return message;
  let encoded = "";
  for (const byte of Buffer.from(message)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  // Spaces at the ends would be no valid header field.
  return encoded.replace(/^ | $/g, "%20");
}
