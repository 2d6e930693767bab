import type { PlannedBlob } from "./blob-plan.ts";
import { bytesField, GRPC_PREFIX_BYTES, grpcMessage } from "./proto-fields.ts";

/** A ReadRequest for a whole blob, with its prefix. */
export function readRequest(blob: Pick<PlannedBlob, "hash" | "sizeBytes">): Buffer {
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
