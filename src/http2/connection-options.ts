import type { FloodLimits } from "./flood-guard.ts";
import { FLOOD_LIMITS_DEFAULT } from "./flood-guard.ts";
import type { ByteBudget } from "./byte-budget.ts";
import type { OutputBudget } from "./output-budget.ts";
import type { LoopTurns } from "./loop-turns.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Every bound of a connection. README.md says what happens at each. */
export interface ConnectionOptions {
  /** Requests whose handlers run at the same time. */
  readonly concurrentStreamsMax: number;
  /** Largest frame taken. */
  readonly frameBytesMax: number;
  /** Fields of one request, counted as RFC 9113, section 6.5.2 says; also the largest compressed header block. */
  readonly headerListBytesMax: number;
  /** Received bytes of a stream that may wait to be consumed, at first and once its consumer keeps up. */
  readonly streamWindowBytes: number;
  readonly streamWindowBytesMax: number;
  /** The same for all streams together. */
  readonly connectionWindowBytes: number;
  readonly connectionWindowBytesMax: number;
  /** What connection windows may grow by, all connections together; undefined: by as much as each is allowed. */
  readonly windowBudget: ByteBudget | undefined;
  /** Bytes handed to the socket and not taken by it, from which on DATA waits in its stream. */
  readonly socketBacklogBytesMax: number;
  /** What waits for the clients of all connections together; undefined: as much as each is allowed. */
  readonly outputBudget: OutputBudget | undefined;
  /** In which the requests of all connections begin; undefined: each as soon as it is there. */
  readonly requestTurns: LoopTurns | undefined;
  /** Calls back at the end of this turn of the event loop, when what there is to be sent leaves. */
  readonly atTurnEnd: (call: () => void) => void;
  /** DATA that waits in all streams together, from which on new streams are refused. */
  readonly queuedBytesMax: number;
  /** Frames other than DATA waiting for the socket, from which on nothing more is read. */
  readonly controlBacklogBytesMax: number;
  /** A stream or a connection that takes nothing of what waits for it for so long is given up. */
  readonly sendStallTimeoutMs: number;
  /** How often a quiet connection is probed, and how long an answer may take. */
  readonly keepaliveIntervalMs: number;
  readonly keepaliveTimeoutMs: number;
  /** A connection of this age, give or take a tenth, is drained; undefined: never. */
  readonly connectionAgeMsMax: number | undefined;
  readonly floodLimits: FloodLimits;
}

export const CONNECTION_DEFAULTS: ConnectionOptions = {
  concurrentStreamsMax: 1000,
  // Clients that look at it (grpc-java) then send a message of 16 KiB and its prefix as one frame.
  frameBytesMax: 64 * KIB,
  headerListBytesMax: 32 * KIB,
  streamWindowBytes: 256 * KIB,
  streamWindowBytesMax: 8 * MIB,
  connectionWindowBytes: MIB,
  connectionWindowBytesMax: 32 * MIB,
  windowBudget: undefined,
  socketBacklogBytesMax: 512 * KIB,
  outputBudget: undefined,
  requestTurns: undefined,
  atTurnEnd: setImmediate,
  queuedBytesMax: 64 * MIB,
  controlBacklogBytesMax: MIB,
  sendStallTimeoutMs: 60_000,
  keepaliveIntervalMs: 60_000,
  keepaliveTimeoutMs: 20_000,
  connectionAgeMsMax: undefined,
  floodLimits: FLOOD_LIMITS_DEFAULT,
};
