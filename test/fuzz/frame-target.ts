import { gzipSync } from "node:zlib";
import type { GrpcTransport, PartDecoder } from "../../src/grpc/transport/handler.ts";
import { createNativeTransport } from "../../src/grpc/transport/native-transport.ts";
import { MemoryBudget } from "../../src/cache/memory-budget.ts";
import { ByteBudget } from "../../src/http2/byte-budget.ts";
import { CONNECTION_DEFAULTS, type ConnectionOptions } from "../../src/http2/connection-options.ts";
import { FLOOD_LIMITS_DEFAULT } from "../../src/http2/flood-guard.ts";
import { Http2Connection } from "../../src/http2/http2-connection.ts";
import { path, textMethods } from "../contract/grpc-transport-methods.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { ClientSession, type SessionOptions } from "./client-session.ts";
import { check, eventually, type FuzzTarget } from "./fuzz-target.ts";
import { FuzzedStreams, RESPONSE_BYTES_MAX } from "./fuzzed-streams.ts";
import { FuzzSocket } from "./fuzz-socket.ts";
import { mutateFrames } from "./mutation.ts";
import { checkSentFrames } from "./sent-frames.ts";

const MUTATED_SHARE = 0.75;
const GRPC_SHARE = 0.5;
const WINDOW_BUDGET_BYTES = 10_000_000;
const REQUEST_MEMORY_BYTES = 300_000;
/** A flush, and what one chunk can make the server say. */
const UNSENT_SLACK_BYTES = 1024 * 1024;
const CHUNK_BYTES_MAX = 20_000;

/**
 * Sessions of a client over a socket that the case controls: what is sent keeps to the rules, or is mutated; how it is
 * cut into chunks, when output is taken, what is answered, and the bounds of the connection are drawn, too.
 */
export class FrameTarget implements FuzzTarget {
  readonly figures = { sessions: 0, mutated: 0, overGrpc: 0, framesReceived: 0, framesSent: 0, connectionErrors: 0 };

  async run(seed: number): Promise<void> {
    const random = seededRandom(seed);
    const isGrpc = random.fraction() < GRPC_SHARE;
    const isMutated = random.fraction() < MUTATED_SHARE;
    const session = new ClientSession(random, isGrpc ? GRPC_SESSION : PLAIN_SESSION);
    const frames = isMutated ? mutateFrames(random, session.frames) : session.frames;
    const socket = new FuzzSocket(random, random.pick([0, 0, 0.2, 0.8]));
    const received = isGrpc
      ? await runGrpc(random, socket, Buffer.concat(frames), isMutated ? undefined : session)
      : await runPlain(random, socket, Buffer.concat(frames), isMutated ? undefined : session);
    const { frames: sentCount, errorCode } = checkSentFrames(socket.sent, received);
    check(isMutated || errorCode === 0, () => `error ${errorCode} for a client that keeps to the rules`);
    this.figures.sessions++;
    this.figures.mutated += isMutated ? 1 : 0;
    this.figures.overGrpc += isGrpc ? 1 : 0;
    this.figures.framesReceived += frames.length;
    this.figures.framesSent += sentCount;
    this.figures.connectionErrors += errorCode === 0 ? 0 : 1;
  }
}

const PLAIN_SESSION: SessionOptions = {
  frameCountMax: 60,
  dataBytesMax: 3000,
  paths: ["/a", "/b", "/c/d"],
  windowsBytes: [0, 1, 100, 65_535, 1_000_000],
  extraFields: (random) => (random.fraction() < 0.3 ? [["x-some", "v".repeat(random.int(0, 300))]] : []),
  body: (random) => random.bytes(random.fraction() < 0.1 ? random.int(0, 20_000) : random.int(0, 300)),
};

const GRPC_SESSION: SessionOptions = {
  frameCountMax: 40,
  dataBytesMax: 3000,
  paths: [path("Unary"), path("ServerStream"), path("ClientStream"), path("Duplex"), "/no/such"],
  // Enough for all responses: whether calls end is looked at, not how their responses wait.
  windowsBytes: [1_000_000_000],
  extraFields: (random) => [
    ["content-type", random.pick(["application/grpc", "application/grpc", "application/grpc+proto", "text/plain"])],
    ["te", "trailers"],
    ...(random.fraction() < 0.3 ? [["grpc-encoding", random.pick(["gzip", "identity", "br"])] as const] : []),
    ...(random.fraction() < 0.2 ? [["grpc-timeout", random.pick(["1H", "10S", "0n", "x"])] as const] : []),
    ...(random.fraction() < 0.2 ? [["x-key-bin", random.pick(["AAEC", "AA==", "!!"])] as const] : []),
  ],
  body: grpcBody,
};

/** Some messages, mostly whole. */
function grpcBody(random: SeededRandom): Buffer {
  const messages = Array.from({ length: random.int(0, 3) }, () => {
    const text = Buffer.alloc(random.fraction() < 0.1 ? random.int(0, 150_000) : random.int(0, 200), "text");
    const isCompressed = random.fraction() < 0.2;
    const message = isCompressed ? gzipSync(text) : text;
    const prefix = Buffer.from([random.fraction() < 0.02 ? 7 : Number(isCompressed), 0, 0, 0, 0]);
    prefix.writeUInt32BE(message.length + (random.fraction() < 0.05 ? random.int(0, 2 ** 31) : 0), 1);
    return Buffer.concat([prefix, message]);
  });
  const body = Buffer.concat(messages);
  return random.fraction() < 0.1 ? body.subarray(0, random.int(0, body.length)) : body;
}

/** Small bounds, so that short sessions come upon them. */
function drawOptions(random: SeededRandom): ConnectionOptions {
  const streamWindowBytes = random.pick([70_000, 300_000]);
  const scale = random.pick([1, 1, 0.01]);
  const limit = (kind: keyof typeof FLOOD_LIMITS_DEFAULT) => ({
    burst: Math.ceil(FLOOD_LIMITS_DEFAULT[kind].burst * scale),
    perSecond: 0,
  });
  return {
    ...CONNECTION_DEFAULTS,
    concurrentStreamsMax: random.pick([1, 5, 100]),
    headerListBytesMax: random.pick([1000, 32_768]),
    streamWindowBytes,
    streamWindowBytesMax: 2 * streamWindowBytes,
    connectionWindowBytes: random.pick([65_535, 500_000]),
    connectionWindowBytesMax: 1_000_000,
    windowBudget: new ByteBudget(WINDOW_BUDGET_BYTES),
    socketBacklogBytesMax: random.pick([10_000, 100_000]),
    queuedBytesMax: random.pick([50_000, 1_000_000]),
    controlBacklogBytesMax: random.int(1000, 100_000),
    connectionAgeMsMax: random.int(0, 2) === 0 ? 0 : undefined,
    floodLimits: {
      reset: limit("reset"),
      control: limit("control"),
      windowUpdate: limit("windowUpdate"),
      tinyData: limit("tinyData"),
    },
  };
}

/** A client that keeps to the rules hits no bound that ends its connection; windows it does not look at. */
function generous(options: ConnectionOptions): ConnectionOptions {
  const { floodLimits, headerListBytesMax } = CONNECTION_DEFAULTS;
  return {
    ...options,
    floodLimits,
    headerListBytesMax,
    concurrentStreamsMax: 1000,
    queuedBytesMax: 1e9,
    streamWindowBytes: 1e9,
    streamWindowBytesMax: 1e9,
    connectionWindowBytes: 2e9,
    connectionWindowBytesMax: 2e9,
  };
}

/** @param honest what the client meant, where its bytes are as it meant them. @returns what the server has received. */
async function runPlain(
  random: SeededRandom,
  socket: FuzzSocket,
  bytes: Buffer,
  honest: ClientSession | undefined,
): Promise<Buffer> {
  const drawn = drawOptions(random);
  const options = honest === undefined ? drawn : generous(drawn);
  const streams = new FuzzedStreams(random);
  const faults: unknown[] = [];
  let closedCount = 0;
  const connection = new Http2Connection(
    socket.asSocket(),
    {
      onRequest: (stream) => streams.onRequest(stream),
      onClosed: () => closedCount++,
      onFault: (cause) => faults.push(cause),
    },
    options,
  );
  connection.start();
  const received = await deliver(random, socket, bytes, () => {
    if (faults.length > 0) throw faults[0];
    streams.tick();
    checkBounds(connection, options, streams.unconsumedBytes);
    if (random.fraction() < 0.005) connection.drain();
  });
  if (honest !== undefined && received.length === bytes.length) checkBodies(streams, honest);
  socket.destroy();
  await eventually(() => closedCount > 0, "the connection closes with its socket");
  while (!streams.isIdle) streams.tick(true);
  check(closedCount === 1 && faults.length === 0, () => `closed ${closedCount} times, faults ${String(faults[0])}`);
  const { openStreams, busyStreams, queuedBytes } = connection.figures;
  check(openStreams + busyStreams + queuedBytes === 0, () => `left: ${JSON.stringify(connection.figures)}`);
  check(options.windowBudget?.take(WINDOW_BUDGET_BYTES) === true, () => "some of the window budget is not given back");
  return received;
}

function checkBounds(connection: Http2Connection, options: ConnectionOptions, unconsumedBytes: number): void {
  const { openStreams, busyStreams, queuedBytes, unsentBytes, windowBytes } = connection.figures;
  const figures = (): string => JSON.stringify(connection.figures);
  check(openStreams <= busyStreams && busyStreams <= options.concurrentStreamsMax, () => `streams: ${figures()}`);
  const queuedMax = options.queuedBytesMax + options.concurrentStreamsMax * RESPONSE_BYTES_MAX;
  check(queuedBytes >= 0 && queuedBytes <= queuedMax, () => `queued: ${figures()}`);
  const unsentMax = options.socketBacklogBytesMax + options.controlBacklogBytesMax + UNSENT_SLACK_BYTES;
  check(unsentBytes <= unsentMax, () => `unsent: ${figures()}`);
  check(windowBytes <= options.connectionWindowBytesMax, () => `window: ${figures()}`);
  check(unconsumedBytes <= windowBytes, () => `${unconsumedBytes} bytes wait to be consumed: ${figures()}`);
}

/** What has arrived is what was sent. */
function checkBodies({ complete }: FuzzedStreams, honest: ClientSession): void {
  for (const { streamId, body } of complete) {
    check(honest.bodies.get(streamId)?.equals(body) === true, () => `stream ${streamId}: another body was sent`);
  }
}

async function runGrpc(
  random: SeededRandom,
  socket: FuzzSocket,
  bytes: Buffer,
  honest: ClientSession | undefined,
): Promise<Buffer> {
  const faults: unknown[] = [];
  const drawn = drawOptions(random);
  const memory = new MemoryBudget(REQUEST_MEMORY_BYTES, { waitMs: 10 });
  const connectionOptions = honest === undefined ? drawn : generous(drawn);
  const transport = createTextTransport(random, faults, connectionOptions, memory);
  transport.accept(socket.asSocket());
  const received = await deliver(random, socket, bytes, () => {
    if (faults.length > 0) throw faults[0];
  });
  if (honest !== undefined && received.length === bytes.length) {
    const isAnswered = (): boolean => {
      socket.takeOutput();
      return transport.callsInFlight <= honest.incompleteCount;
    };
    await eventually(isAnswered, "all requests that are complete are answered");
  }
  socket.destroy();
  await eventually(() => transport.callsInFlight === 0, "all calls are over");
  await transport.drain(0);
  check(faults.length === 0, () => `fault: ${String(faults[0])}`);
  check(memory.usedBytes === 0 && memory.waiterCount === 0, () => `${memory.usedBytes} bytes are not given back`);
  return received;
}

function createTextTransport(
  random: SeededRandom,
  faults: unknown[],
  connection: ConnectionOptions,
  memory: MemoryBudget,
): GrpcTransport {
  const pause = async (): Promise<void> => {
    if (random.fraction() < 0.3) await new Promise(setImmediate);
  };
  const methods = textMethods({
    Unary: async (text) => {
      await pause();
      return text;
    },
    async *ServerStream(text) {
      for (let count = random.int(0, 5); count > 0; count--) {
        await pause();
        yield text;
      }
    },
    ClientStream: async (requests) => {
      let bytes = 0;
      requests.offerTo((text) => {
        if (random.fraction() < 0.3) return false;
        bytes += text.length;
        return true;
      });
      for await (const text of requests) {
        await pause();
        bytes += text.length;
        if (random.fraction() < 0.05) break;
      }
      return `${bytes}`;
    },
    async *Duplex(requests) {
      for await (const text of requests) yield text;
    },
  });
  for (const { kind, definition } of methods) {
    if (kind === "clientStream" && random.fraction() < 0.7) definition.partDecoder = () => new TextParts();
  }
  return createNativeTransport(methods, {
    reportFault: (_reference, cause) => faults.push(cause),
    messageBytesMax: 100_000,
    sendBufferBytesMax: 20_000,
    memory,
    connection,
  });
}

/** A text in parts is as many texts, or is wanted whole. */
class TextParts implements PartDecoder<unknown> {
  keep(request: unknown): unknown {
    return request;
  }

  begin(bytes: Buffer): unknown {
    return bytes.length % 2 === 0 ? bytes.toString() : undefined;
  }

  continue(bytes: Buffer): unknown {
    return bytes.length % 3 === 0 ? undefined : bytes.toString();
  }
}

/** Brings the bytes in, cut anywhere; `between` runs after each chunk. @returns what got through before the end. */
async function deliver(random: SeededRandom, socket: FuzzSocket, bytes: Buffer, between: () => void): Promise<Buffer> {
  const chunkBytesMax = random.pick([1, 20, 500, 2000, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX]);
  const vanishesAt = random.fraction() < 0.1 ? random.int(0, bytes.length) : bytes.length;
  let at = 0;
  while (at < vanishesAt && !socket.destroyed) {
    // A server that reads nothing more has to be given room.
    if (socket.isPaused() || random.fraction() < 0.2) socket.takeOutput();
    if (random.fraction() < 0.1 || socket.isPaused()) await new Promise(setImmediate);
    if (socket.isPaused()) continue;
    const end = Math.min(vanishesAt, at + random.int(1, chunkBytesMax));
    socket.receive(bytes.subarray(at, end));
    at = end;
    between();
  }
  await new Promise(setImmediate);
  for (let turns = 0; turns < 5; turns++) {
    socket.takeOutput();
    await new Promise(setImmediate);
  }
  if (!socket.destroyed) between();
  return bytes.subarray(0, at);
}
