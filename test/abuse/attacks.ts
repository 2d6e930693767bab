import type { Socket } from "node:net";
import { FLAG, FRAME, PREFACE } from "../../src/http2/frame-format.ts";
import { SETTING } from "../../src/http2/settings.ts";
import { SLOW_PER_IDLE } from "../../src/upload-deadline.ts";
import { FLOODS } from "../http2/floods.ts";
import { rawFrame, requestBlock, setting, word } from "../http2/raw-frames.ts";
import { grpcBody, readBody, writeBody } from "../interop/grpc-bodies.ts";
import { digestOf } from "../support/cache-client.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import type { AttackPlan } from "./attack-plan.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** What is set for the server under attack; each attack is over by one of these, or by one that cannot be set. */
export const SERVER_TIMEOUTS_MS = { uploadIdle: 5000, downloadIdle: 5000 } as const;
const PREFACE_TIMEOUT_MS = 10_000;
export const HTTP_HEADERS_TIMEOUT_MS = 10_000;
/** Whoever was heard in one minute is asked after the next one, and has 20 s for the answer. */
const KEEPALIVE_MS = 140_000;
/** HAZARDS H15 and H16 leave a second. */
export const AT_ONCE_MS = 1000;

/** Connections that all do the same, frame by frame. */
export interface Attack extends Omit<AttackPlan, "carryOut"> {
  /** What ends when the attacker is cut off. */
  readonly cutOff: "call" | "connection";
  /** What is done on a connection, and every `intervalMs` again. */
  readonly begin: (socket: Socket, random: SeededRandom) => void;
  readonly again?: (socket: Socket, round: number) => void;
  readonly intervalMs?: number;
}

/** The blob that the readers ask for: more than the buffers of a socket hold. */
export const LARGE_BLOB = seededRandom("abuse").bytes(24 * MIB);
const READ_LARGE_BLOB = readBody(LARGE_BLOB);
export const LARGE_BLOB_PATH = `/cas/${digestOf(LARGE_BLOB).hash}`;
/** For those who ask for many parts of a blob. */
export const SMALL_BLOB = LARGE_BLOB.subarray(0, 64 * KIB);
export const SMALL_BLOB_PATH = `/cas/${digestOf(SMALL_BLOB).hash}`;
const GET_LARGE_BLOB = `GET ${LARGE_BLOB_PATH} HTTP/1.1\r\nhost: localhost\r\n\r\n`;

const STREAM = 1;
const GRPC_FIELDS = [["content-type", "application/grpc"] as const, ["te", "trailers"] as const];
const WRITE = "/google.bytestream.ByteStream/Write";
const READ = "/google.bytestream.ByteStream/Read";
const WINDOW_MAX = 2 ** 31 - 1;
/** Beyond the first 64 KiB. */
const CONNECTION_WINDOW_BYTES = 2 ** 30;
const DATA_FRAME_BYTES = 16 * KIB;

function open(socket: Socket, windowBytes: number, path: string): void {
  socket.write(
    Buffer.concat([
      PREFACE,
      rawFrame(FRAME.settings, 0, 0, setting(SETTING.initialWindowSize, windowBytes)),
      rawFrame(FRAME.windowUpdate, 0, 0, word(CONNECTION_WINDOW_BYTES)),
      rawFrame(FRAME.headers, FLAG.endHeaders, STREAM, requestBlock(path, GRPC_FIELDS)),
    ]),
  );
}

function sendData(socket: Socket, bytes: Buffer, lastFlags = 0): void {
  for (let at = 0; at < bytes.length; at += DATA_FRAME_BYTES) {
    const end = Math.min(bytes.length, at + DATA_FRAME_BYTES);
    socket.write(rawFrame(FRAME.data, end === bytes.length ? lastFlags : 0, STREAM, bytes.subarray(at, end)));
  }
}

/** Sends half of a blob, as much as a window of 64 KiB allows, and leaves the call open. */
function beginUpload(socket: Socket, random: SeededRandom): void {
  open(socket, WINDOW_MAX, WRITE);
  sendData(socket, writeBody(random.bytes(96 * KIB)).subarray(0, 48 * KIB));
}

function beginRead(socket: Socket, windowBytes: number): void {
  open(socket, windowBytes, READ);
  sendData(socket, READ_LARGE_BLOB, FLAG.endStream);
}

function slowWriter(name: string, again: (socket: Socket) => void): Attack {
  const deadlineMs = SERVER_TIMEOUTS_MS.uploadIdle;
  return { name, attackerCount: 500, deadlineMs, cutOff: "call", begin: beginUpload, again, intervalMs: 500 };
}

const MANY = { attackerCount: 500 } as const;

/** HAZARDS H14 and H16, and those of H15 from {@link FLOODS}. */
export const ATTACKS: readonly Attack[] = [
  slowWriter("writers that stop in the middle", () => {}),
  slowWriter("writers of empty frames", (socket) => socket.write(rawFrame(FRAME.data, 0, STREAM))),
  {
    ...MANY,
    name: "writers of a byte now and then",
    deadlineMs: SLOW_PER_IDLE * SERVER_TIMEOUTS_MS.uploadIdle,
    cutOff: "call",
    begin: beginUpload,
    again: (socket) => socket.write(rawFrame(FRAME.data, 0, STREAM, Buffer.alloc(1))),
    intervalMs: SERVER_TIMEOUTS_MS.uploadIdle / 2,
  },
  {
    ...MANY,
    name: "readers that open no window",
    deadlineMs: SERVER_TIMEOUTS_MS.downloadIdle,
    cutOff: "call",
    begin: (socket) => beginRead(socket, 0),
  },
  {
    ...MANY,
    name: "readers that never read their socket",
    deadlineMs: SERVER_TIMEOUTS_MS.downloadIdle,
    cutOff: "connection",
    begin: (socket) => {
      socket.pause();
      beginRead(socket, WINDOW_MAX);
    },
    // Who does not read learns of the end by writing only.
    again: (socket) => socket.write(rawFrame(FRAME.ping, 0, 0, Buffer.alloc(8))),
    intervalMs: 500,
  },
  {
    ...MANY,
    name: "messages that announce 4 GiB",
    deadlineMs: AT_ONCE_MS,
    cutOff: "call",
    begin: (socket) => {
      open(socket, WINDOW_MAX, WRITE);
      sendData(socket, Buffer.concat([Buffer.from([0, 0xff, 0xff, 0xff, 0xff]), Buffer.alloc(32 * KIB)]));
    },
  },
  {
    ...MANY,
    name: "messages that never become whole",
    deadlineMs: SERVER_TIMEOUTS_MS.downloadIdle,
    cutOff: "call",
    begin: (socket) => {
      open(socket, WINDOW_MAX, "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs");
      sendData(socket, grpcBody(Buffer.alloc(4 * MIB)).subarray(0, 48 * KIB));
    },
  },
  { ...MANY, name: "connections that say nothing", deadlineMs: PREFACE_TIMEOUT_MS, cutOff: "connection", begin() {} },
  {
    ...MANY,
    name: "frames that never become whole",
    deadlineMs: KEEPALIVE_MS,
    cutOff: "connection",
    begin: (socket) => {
      open(socket, WINDOW_MAX, WRITE);
      socket.write(rawFrame(FRAME.data, 0, STREAM, Buffer.alloc(16 * KIB)).subarray(0, 1000));
    },
    again: (socket) => socket.write("x"),
    intervalMs: 5000,
  },
  {
    ...MANY,
    name: "HTTP/1.1 readers that never read their socket",
    deadlineMs: SERVER_TIMEOUTS_MS.downloadIdle,
    cutOff: "connection",
    begin: (socket) => {
      socket.pause();
      socket.write(GET_LARGE_BLOB);
    },
    // As above.
    again: (socket) => socket.write("\r\n"),
    intervalMs: 500,
  },
  {
    ...MANY,
    name: "HTTP/1.1 headers that never end",
    deadlineMs: HTTP_HEADERS_TIMEOUT_MS,
    cutOff: "connection",
    begin: (socket) => socket.write("GET /status HTTP/1.1\r\nhost: localhost\r\n"),
    again: (socket, round) => socket.write(`x-${round}: 1\r\n`),
    intervalMs: 1000,
  },
  ...FLOODS.map(({ name, first, repeated }): Attack => ({
    name: `flood: ${name}`,
    attackerCount: 20,
    deadlineMs: AT_ONCE_MS,
    cutOff: "connection",
    begin(socket) {
      socket.write(Buffer.concat([PREFACE, rawFrame(FRAME.settings, 0, 0), ...first(beginWrite)]));
    },
    again(socket, round) {
      const frames = Array.from({ length: FLOOD_FRAMES }, (_, at) => repeated(round * FLOOD_FRAMES + at, beginWrite));
      socket.write(Buffer.concat(frames));
    },
    intervalMs: 5,
  })),
];

const FLOOD_FRAMES = 500;

/** A call that the server carries out, left open. */
function beginWrite(streamId: number, flags: number): Buffer {
  return rawFrame(FRAME.headers, flags, streamId, requestBlock(WRITE, GRPC_FIELDS));
}
