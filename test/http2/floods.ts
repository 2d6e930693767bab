import { ERROR_CODE } from "../../src/http2/error-code.ts";
import { FLAG, FRAME } from "../../src/http2/frame-format.ts";
import { SETTING } from "../../src/http2/settings.ts";
import { rawFrame, setting, word } from "./raw-frames.ts";
import type { RawHttp2Client } from "./raw-http2-client.ts";

const END = FLAG.endHeaders | FLAG.endStream;

/** HEADERS that begin a request, with these flags. */
export type BeginRequest = (streamId: number, flags: number) => Buffer;

export interface Flood {
  readonly name: string;
  /** What is sent first. */
  readonly first: (begin: BeginRequest) => Buffer[];
  /** What is then repeated. */
  readonly repeated: (round: number, begin: BeginRequest) => Buffer;
}

/** HAZARDS H15. */
export const FLOODS: readonly Flood[] = [
  {
    name: "rapid reset",
    first: () => [],
    repeated: (round, begin) => {
      const streamId = 2 * round + 1;
      const reset = rawFrame(FRAME.rstStream, 0, streamId, word(ERROR_CODE.cancel));
      return Buffer.concat([begin(streamId, END), reset]);
    },
  },
  {
    name: "streams that make the server reset them",
    first: () => [],
    repeated: (round, begin) => {
      const streamId = 2 * round + 1;
      return Buffer.concat([begin(streamId, FLAG.endHeaders), rawFrame(FRAME.windowUpdate, 0, streamId, word(0))]);
    },
  },
  { name: "PING", first: () => [], repeated: () => rawFrame(FRAME.ping, 0, 0, Buffer.alloc(8)) },
  {
    name: "SETTINGS",
    first: () => [],
    repeated: (round) => rawFrame(FRAME.settings, 0, 0, setting(SETTING.initialWindowSize, 1000 + (round % 2))),
  },
  { name: "SETTINGS acknowledgements", first: () => [], repeated: () => rawFrame(FRAME.settings, FLAG.ack, 0) },
  {
    name: "PRIORITY",
    first: (begin) => [begin(1, FLAG.endHeaders)],
    repeated: () => rawFrame(FRAME.priority, 0, 1, Buffer.alloc(5)),
  },
  { name: "unknown frames", first: () => [], repeated: () => rawFrame(0xee, 0, 0) },
  {
    name: "CONTINUATION",
    first: (begin) => [begin(1, 0)],
    repeated: () => rawFrame(FRAME.continuation, 0, 1, Buffer.from([0x82])),
  },
  {
    name: "empty CONTINUATION",
    first: (begin) => [begin(1, 0)],
    repeated: () => rawFrame(FRAME.continuation, 0, 1),
  },
  { name: "empty DATA", first: (begin) => [begin(1, FLAG.endHeaders)], repeated: () => rawFrame(FRAME.data, 0, 1) },
  {
    name: "DATA that is all padding",
    first: (begin) => [begin(1, FLAG.endHeaders)],
    repeated: () => rawFrame(FRAME.data, FLAG.padded, 1, Buffer.from([1, 0])),
  },
  {
    name: "1-byte DATA",
    first: (begin) => [begin(1, FLAG.endHeaders)],
    repeated: () => rawFrame(FRAME.data, 0, 1, Buffer.from("x")),
  },
  {
    name: "WINDOW_UPDATE",
    first: (begin) => [begin(1, FLAG.endHeaders)],
    repeated: () => rawFrame(FRAME.windowUpdate, 0, 1, word(1)),
  },
];

const ROUNDS_MAX = 100_000;
const ROUNDS_AT_ONCE = 100;

/** Floods until the connection is closed, and says nothing where it never is. */
export async function flood(client: RawHttp2Client, { first, repeated }: Flood, begin: BeginRequest): Promise<void> {
  client.send(...first(begin));
  for (let round = 0; round < ROUNDS_MAX && !client.isClosed; round += ROUNDS_AT_ONCE) {
    client.send(...Array.from({ length: ROUNDS_AT_ONCE }, (_, index) => repeated(round + index, begin)));
    if (round % (10 * ROUNDS_AT_ONCE) === 0) await new Promise(setImmediate);
  }
}
