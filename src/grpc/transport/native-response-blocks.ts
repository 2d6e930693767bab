import { encodeHeaderBlock } from "../../http2/hpack/encode-header-block.ts";
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
  const fields: [string, string][] = [["grpc-status", String(status.code)]];
  if (status.message !== "") fields.push(["grpc-message", percentEncode(status.message)]);
  const details = statusDetailsTrailer(status);
  if (details !== undefined) fields.push(["grpc-status-details-bin", details.toString("base64").replace(/=+$/, "")]);
  return encodeHeaderBlock(isOnlyBlock ? [...RESPONSE_FIELDS, ...fields] : fields);
}

/** UTF-8 with everything but printable ASCII as `%XX`, and the percent sign, too. */
function percentEncode(message: string): string {
  let encoded = "";
  for (const byte of Buffer.from(message)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  // Spaces at the ends would be no valid header field.
  return encoded.replace(/^ | $/g, "%20");
}
