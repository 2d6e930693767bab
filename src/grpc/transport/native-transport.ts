import type { Socket } from "node:net";
import type { ClientCertificate, ShownCredentials } from "../../auth/authorizer.ts";
import type { Caller } from "../../auth/caller.ts";
import { clientCertificateOf } from "../../auth/client-certificate.ts";
import { CacheError } from "../../cache/cache-error.ts";
import { MemoryBudget } from "../../cache/memory-budget.ts";
import { ByteBudget } from "../../http2/byte-budget.ts";
import { CONNECTION_DEFAULTS, type ConnectionOptions } from "../../http2/connection-options.ts";
import { Http2Connection } from "../../http2/http2-connection.ts";
import type { Http2Stream } from "../../http2/http2-stream.ts";
import { type LoopTurns, sendTurns } from "../../http2/loop-turns.ts";
import { MemberList } from "../../member-list.ts";
import { turnEnd } from "../../turn-end.ts";
import { type FaultReporter, statusOfError } from "../grpc-status.ts";
import type { BoundMethod, GrpcTransport } from "./handler.ts";
import { NativeCall } from "./native-call.ts";
import { Decompressor } from "./native-decompressor.ts";
import { PendingCall } from "./native-pending-call.ts";
import { httpAnswer, Refusal } from "./native-refusal.ts";
import { type CallHead, readRequestHead, type RequestHead } from "./native-request-head.ts";
import { statusBlock } from "./native-response-blocks.ts";
import { MEMORY_BYTES_DEFAULT, TRANSPORT_DEFAULTS, type TransportOptions } from "./transport-options.ts";

export interface NativeTransportOptions extends TransportOptions {
  /** Bounds of a connection that {@link TransportOptions} does not have. */
  readonly connection?: Partial<ConnectionOptions>;
}

/** After `drain` has cancelled what was left, handlers get so long to put their things away. */
const UNWIND_MS = 1000;

/** gRPC over HTTP/2 of our own: see src/http2/README.md for what it measures and why it exists. */
export function createNativeTransport(methods: readonly BoundMethod[], options: NativeTransportOptions): GrpcTransport {
  return new NativeTransport(methods, options);
}

class NativeTransport implements GrpcTransport {
  readonly #methods: ReadonlyMap<string, BoundMethod>;
  readonly #options: Required<Omit<TransportOptions, "observer">> & Pick<TransportOptions, "observer">;
  readonly #connectionOptions: ConnectionOptions;
  readonly #sendTurns: LoopTurns;
  readonly #decompressor: Decompressor;
  readonly #connections = new MemberList<Http2Connection>();
  readonly #calls = new MemberList<NativeCall>();
  #draining = false;
  /** Called whenever a connection or a call has gone. */
  #onProgress: (() => void) | undefined;

  constructor(methods: readonly BoundMethod[], options: NativeTransportOptions) {
    const { connection = {}, ...transportOptions } = options;
    this.#methods = new Map(methods.map((method) => [method.definition.path, method]));
    this.#options = { memory: new MemoryBudget(MEMORY_BYTES_DEFAULT), ...TRANSPORT_DEFAULTS, ...transportOptions };
    this.#sendTurns = this.#options.sendTurns ?? sendTurns();
    this.#decompressor = new Decompressor(this.#options.messageBytesMax);
    const { concurrentStreamsMax, sendStallTimeoutMs, keepaliveIntervalMs, keepaliveTimeoutMs } = this.#options;
    const { streamWindowBytes, streamWindowBytesMax, connectionWindowBytes, connectionWindowBytesMax } = this.#options;
    const { connectionAgeMsMax, windowGrowthBytesMax, outputBudget, requestTurns } = this.#options;
    this.#connectionOptions = {
      ...CONNECTION_DEFAULTS,
      concurrentStreamsMax,
      sendStallTimeoutMs,
      keepaliveIntervalMs,
      keepaliveTimeoutMs,
      connectionAgeMsMax,
      streamWindowBytes: Math.min(streamWindowBytes, streamWindowBytesMax),
      streamWindowBytesMax,
      connectionWindowBytes: Math.min(connectionWindowBytes, connectionWindowBytesMax),
      connectionWindowBytesMax,
      windowBudget: new ByteBudget(windowGrowthBytesMax),
      outputBudget,
      requestTurns,
      atTurnEnd: turnEnd.first,
      ...connection,
    };
  }

  get callsInFlight(): number {
    return this.#calls.size;
  }

  accept(socket: Socket): void {
    if (this.#draining) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    const certificate = clientCertificateOf(socket);
    const connection = new Http2Connection(
      socket,
      {
        onRequest: (stream) => this.#onRequest(stream, connection, certificate),
        onClosed: () => {
          this.#connections.delete(connection);
          this.#onProgress?.();
        },
        onFault: (cause) => void statusOfError(cause, this.#options.reportFault),
      },
      this.#connectionOptions,
    );
    this.#connections.add(connection);
    connection.start();
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    for (const connection of this.#connections) connection.drain();
    if (await this.#idleWithin(deadlineMs)) return;
    for (const call of this.#calls) call.cancel(new CacheError("unavailable", "the server is shutting down"));
    await this.#idleWithin(UNWIND_MS);
    for (const connection of this.#connections) connection.destroy();
  }

  #onRequest(stream: Http2Stream, { peer }: Http2Connection, certificate: ClientCertificate | undefined): void {
    const { headers } = stream;
    headers.memo ??= readRequestHead(headers, this.#methods);
    const head = headers.memo as RequestHead;
    if (head.kind !== "call" || this.#draining) {
      stream.listener = new Refusal(stream, refusalOf(head));
    } else if (head.caller?.isCurrent === true) {
      this.#startCall(stream, peer, head, head.caller);
    } else {
      this.#admit(stream, head, { authorization: headers.get("authorization"), certificate, peer });
    }
  }

  #admit(stream: Http2Stream, head: CallHead, shown: ShownCredentials): void {
    const { admission } = this.#options;
    const start = (caller: Caller): void => {
      head.caller = caller;
      this.#startCall(stream, shown.peer, head, caller);
    };
    const refuse = (error: unknown): void => this.#refuse(stream, error);
    try {
      const admitted = admission.admit(head.method.definition.path, shown);
      if (admitted instanceof Promise) stream.listener = new PendingCall(stream, admitted, { start, refuse });
      else start(admitted);
    } catch (error) {
      refuse(error);
    }
  }

  #refuse(stream: Http2Stream, error: unknown): void {
    stream.listener = new Refusal(stream, statusAnswer(error, this.#options.reportFault));
  }

  #startCall(stream: Http2Stream, peer: string, head: CallHead, caller: Caller): void {
    const { admission, observer, memory, messageBytesMax, sendBufferBytesMax, sendStallTimeoutMs, reportFault } =
      this.#options;
    const { path } = head.method.definition;
    try {
      admission.enter?.(path, caller, peer);
    } catch (error) {
      return this.#refuse(stream, error);
    }
    const startedMs = performance.now();
    observer?.started(path);
    const call = new NativeCall(stream, head, {
      peer,
      caller,
      messageBytesMax,
      sendBufferBytesMax,
      sendStallTimeoutMs,
      memory,
      sendTurns: this.#sendTurns,
      decompressor: this.#decompressor,
      reportFault,
      onFinished: (finished, statusCode) => {
        this.#calls.delete(finished);
        const durationMs = performance.now() - startedMs;
        observer?.finished(path, statusCode, durationMs, finished.shedBy);
        ended?.(statusCode, durationMs);
        this.#onProgress?.();
      },
    });
    const ended = observer?.watch?.(call);
    this.#calls.add(call);
    stream.listener = call;
    call.start(head.deadlineMs);
  }

  /** @returns whether all calls and connections were gone in time. */
  #idleWithin(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (idle: boolean): void => {
        clearTimeout(timer);
        this.#onProgress = undefined;
        resolve(idle);
      };
      const timer = setTimeout(settle, timeoutMs, false);
      this.#onProgress = () => {
        if (this.#calls.size === 0 && this.#connections.size === 0) settle(true);
      };
      this.#onProgress();
    });
  }
}

/** How a request is answered that no handler gets. */
function refusalOf(head: RequestHead): (stream: Http2Stream) => void {
  if (head.kind === "refusedRequest") return httpAnswer(head.status, head.message);
  const error =
    head.kind === "call"
      ? new CacheError("unavailable", "the server is shutting down")
      : new CacheError(head.code, head.message);
  return statusAnswer(error, () => {});
}

function statusAnswer(error: unknown, reportFault: FaultReporter): (stream: Http2Stream) => void {
  const block = statusBlock(statusOfError(error, reportFault), true);
  return (stream) => stream.respond(block, true);
}
