import type { ShownCredentials } from "../../auth/authorizer.ts";
import { ANYBODY, type Caller } from "../../auth/caller.ts";
import type { ShedReason } from "../../cache/cache-error.ts";
import type { MemoryBudget } from "../../cache/memory-budget.ts";
import type { OutputBudget } from "../../http2/output-budget.ts";
import type { LoopTurns } from "../../http2/loop-turns.ts";
import type { FaultReporter } from "../grpc-status.ts";
import type { CallContext } from "./handler.ts";

/** Told of every call of a bound method, for metrics. */
export interface CallObserver {
  started(path: string): void;
  /**
   * @param statusCode gRPC status code that ended the call, 1 or 4 also where the client ended it.
   * @param shedBy why there was no room for it.
   */
  finished(path: string, statusCode: number, durationMs: number, shedBy?: ShedReason): void;
  /** Where calls are logged or traced: told of each that begins. @returns what to call at its end. */
  readonly watch?: ((call: CallContext) => CallEnd | undefined) | undefined;
}

/** Judges a call by its header fields, before anything of its requests is read. */
export interface CallAdmission {
  /** @returns who makes the call. @throws {CacheError} how the call ends, also as what a promise rejects with. */
  admit(path: string, shown: ShownCredentials): Caller | Promise<Caller>;
  /**
   * Told of every call once it is known who makes it, which need not be found out for each.
   * @param peer `address:port` @throws {CacheError} how the call ends.
   */
  enter?(path: string, caller: Caller, peer: string): void;
}

export type CallEnd = (statusCode: number, durationMs: number) => void;

/** What every transport can be told; each has a default in {@link TRANSPORT_DEFAULTS}, but for the two outlets. */
export interface TransportOptions {
  readonly reportFault: FaultReporter;
  readonly observer?: CallObserver;
  /** Default: anybody may call anything. */
  readonly admission?: CallAdmission;
  /** Largest request message; a larger one is refused by its length prefix with RESOURCE_EXHAUSTED. */
  readonly messageBytesMax?: number;
  /** Calls in flight on one connection; the client queues those beyond. */
  readonly concurrentStreamsMax?: number;
  /** How often a quiet connection is probed. */
  readonly keepaliveIntervalMs?: number;
  /** A connection is dropped when a probe stays unanswered for so long. */
  readonly keepaliveTimeoutMs?: number;
  /** Response bytes of one call that may wait for the client before its handler is held back. */
  readonly sendBufferBytesMax?: number;
  /** Bounds what waits for all clients together. Default: as much as each is allowed. grpc-js knows no such bound. */
  readonly outputBudget?: OutputBudget | undefined;
  /** Of the thread, where others send in it, too. grpc-js knows none. */
  readonly sendTurns?: LoopTurns | undefined;
  /** Of the thread. Default: each request begins as soon as it is there. grpc-js knows none. */
  readonly requestTurns?: LoopTurns | undefined;
  /** A call whose responses the client has not taken for so long ends with DEADLINE_EXCEEDED (BEHAVIOUR 3). */
  readonly sendStallTimeoutMs?: number;
  /** A connection of this age, give or take a tenth, takes no new calls and ends with its last one; undefined: never. */
  readonly connectionAgeMsMax?: number | undefined;
  /** Received bytes of a call that may wait for its handler, at first. grpc-js has no such option and stays at 64 KiB. */
  readonly streamWindowBytes?: number;
  /** The same where the handler keeps up. */
  readonly streamWindowBytesMax?: number;
  /** Both for all calls of a connection. */
  readonly connectionWindowBytes?: number;
  readonly connectionWindowBytesMax?: number;
  /** What the windows of all connections together may grow by beyond their first size. grpc-js has no such bound. */
  readonly windowGrowthBytesMax?: number;
  /** What large requests, which grpc-js does not bound, and answers take their room from. Default: 256 MiB. */
  readonly memory?: MemoryBudget;
}

export const MEMORY_BYTES_DEFAULT: number = 256 * 1024 * 1024;

export const TRANSPORT_DEFAULTS = {
  admission: { admit: () => ANYBODY } as CallAdmission,
  // Twice the announced batch total and room for digests: who exceeds the total a little gets a clear answer.
  messageBytesMax: 8 * 1024 * 1024,
  // Bazel has up to 675 writes in flight for one build, over as few connections as it is allowed; clients queue the rest.
  concurrentStreamsMax: 1000,
  keepaliveIntervalMs: 60_000,
  keepaliveTimeoutMs: 20_000,
  sendBufferBytesMax: 256 * 1024,
  outputBudget: undefined,
  sendTurns: undefined,
  requestTurns: undefined,
  sendStallTimeoutMs: 60_000,
  connectionAgeMsMax: undefined,
  streamWindowBytes: 256 * 1024,
  streamWindowBytesMax: 8 * 1024 * 1024,
  connectionWindowBytes: 1024 * 1024,
  connectionWindowBytesMax: 32 * 1024 * 1024,
  windowGrowthBytesMax: 512 * 1024 * 1024,
} as const satisfies Partial<TransportOptions>;
