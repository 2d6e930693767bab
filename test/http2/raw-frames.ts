/** HTTP/2 frames of a client by hand. */
import { FLAG, FRAME, FRAME_HEADER_BYTES } from "../../src/http2/frame-format.ts";
import { encodeHeaderBlock } from "../../src/http2/hpack/encode-header-block.ts";

export function rawFrame(type: number, flags: number, streamId: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, payload]);
}

export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A SETTINGS payload with one entry. */
export function setting(name: number, value: number): Buffer {
  return Buffer.concat([Buffer.from([0, name]), word(value)]);
}

export function requestBlock(path: string, extra: readonly (readonly [string, string])[] = []): Buffer {
  return encodeHeaderBlock([
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "localhost"],
    ...extra,
  ]);
}

export function headersFrame(streamId: number, path: string, flags: number = FLAG.endHeaders): Buffer {
  return rawFrame(FRAME.headers, flags, streamId, requestBlock(path));
}
