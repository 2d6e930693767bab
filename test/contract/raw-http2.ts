/** HTTP/2 frames by hand, for what no well-behaved client sends. */
import type { Socket } from "node:net";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const FRAME_TYPES = { data: 0, headers: 1, resetStream: 3, settings: 4 } as const;
const END_HEADERS = 4;
const CANCEL = 8;

/** Sends the HTTP/2 preface and empty settings, and ignores what comes back. */
export function beginHttp2(socket: Socket): void {
  socket.on("error", () => {});
  socket.resume();
  socket.write(Buffer.concat([PREFACE, frame(FRAME_TYPES.settings, 0, 0)]));
}

/** Opens a gRPC call. @param streamId odd, greater than any before it on the connection. */
export function callFrame(streamId: number, path: string): Buffer {
  const headers = {
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "localhost",
    te: "trailers",
    "content-type": "application/grpc",
  };
  return frame(FRAME_TYPES.headers, END_HEADERS, streamId, headerBlock(headers));
}

/** A gRPC message in one DATA frame, the stream left open. */
export function messageFrame(streamId: number, message: string): Buffer {
  const payload = Buffer.alloc(5 + Buffer.byteLength(message));
  payload.writeUInt32BE(payload.length - 5, 1);
  payload.write(message, 5);
  return frame(FRAME_TYPES.data, 0, streamId, payload);
}

export function resetFrame(streamId: number): Buffer {
  return frame(FRAME_TYPES.resetStream, 0, streamId, Buffer.from([0, 0, 0, CANCEL]));
}

function frame(type: number, flags: number, streamId: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, payload]);
}

/** HPACK without tables or Huffman: literal fields with new names. */
function headerBlock(headers: Record<string, string>): Buffer {
  const fields = Object.entries(headers).map(([name, value]) =>
    Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]),
  );
  return Buffer.concat(fields);
}
