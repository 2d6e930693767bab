import type { Socket } from "node:net";
import {
  type ConnectionInjector,
  type Metadata,
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from "@grpc/grpc-js";
import type { Caller } from "../../auth/caller.ts";
import { certificateFrom } from "../../auth/client-certificate.ts";
import { CacheError } from "../../cache/cache-error.ts";
import { MemoryBudget } from "../../cache/memory-budget.ts";
import { GrpcJsCall, statusObject } from "./grpc-js-call.ts";
import type { BoundMethod, GrpcTransport } from "./handler.ts";
import { type CallEnd, MEMORY_BYTES_DEFAULT, TRANSPORT_DEFAULTS, type TransportOptions } from "./transport-options.ts";

/** After `drain` has cancelled what was left, handlers get so long to put their things away. */
const UNWIND_MS = 1000;

/** The first transport, on @grpc/grpc-js: the reference that others are held against, and the fallback. */
export function createGrpcJsTransport(methods: readonly BoundMethod[], options: TransportOptions): GrpcTransport {
  return new GrpcJsTransport(methods, options);
}

class GrpcJsTransport implements GrpcTransport {
  readonly #methods: ReadonlyMap<string, BoundMethod>;
  readonly #options: Required<Omit<TransportOptions, "observer">> & Pick<TransportOptions, "observer">;
  readonly #injector: ConnectionInjector;
  readonly #sockets = new Set<Socket>();
  readonly #calls = new Set<GrpcJsCall>();
  #draining = false;
  /** Called whenever a socket or a call has gone. */
  #onProgress: (() => void) | undefined;

  constructor(methods: readonly BoundMethod[], options: TransportOptions) {
    this.#methods = new Map(methods.map((method) => [method.definition.path, method]));
    this.#options = { memory: new MemoryBudget(MEMORY_BYTES_DEFAULT), ...TRANSPORT_DEFAULTS, ...options };
    const { connectionAgeMsMax } = this.#options;
    const server = new Server({
      interceptors: [this.#interceptor],
      "grpc.enable_channelz": 0,
      "grpc.max_receive_message_length": this.#options.messageBytesMax,
      "grpc.max_send_message_length": -1,
      "grpc.max_concurrent_streams": this.#options.concurrentStreamsMax,
      "grpc.keepalive_time_ms": this.#options.keepaliveIntervalMs,
      "grpc.keepalive_timeout_ms": this.#options.keepaliveTimeoutMs,
      ...(connectionAgeMsMax === undefined ? {} : { "grpc.max_connection_age_ms": connectionAgeMsMax }),
    });
    for (const path of this.#methods.keys()) {
      // The interceptor answers before grpc-js gets to the handler; without one the path would be unknown.
      server.register(path, neverCalled, unchanged, unchanged, "bidi");
    }
    this.#injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  get callsInFlight(): number {
    return this.#calls.size;
  }

  accept(socket: Socket): void {
    if (this.#draining) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.#onProgress?.();
    });
    socket.setNoDelay(true);
    this.#injector.injectConnection(socket);
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    this.#injector.drain(deadlineMs + UNWIND_MS);
    const drained = await this.#idleWithin(deadlineMs);
    if (!drained) {
      for (const call of this.#calls) call.cancel(new CacheError("unavailable", "the server is shutting down"));
      await this.#idleWithin(UNWIND_MS);
      for (const socket of this.#sockets) socket.destroy();
    }
    this.#injector.destroy();
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
        if (this.#calls.size === 0 && this.#sockets.size === 0) settle(true);
      };
      this.#onProgress();
    });
  }

  readonly #interceptor: ServerInterceptor = (definition, call) => {
    const method = this.#methods.get(definition.path);
    if (method === undefined) return new ServerInterceptingCall(call);
    let driver: GrpcJsCall | undefined;
    let isCancelled = false;
    const start = (caller: Caller, metadata: Metadata): void => {
      if (isCancelled) return;
      this.#options.admission.enter?.(definition.path, caller, call.getPeer());
      driver = this.#startCall(method, call, caller);
      void driver.run(metadata);
    };
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          // Not before: a call that was cancelled by then is never heard of again, and would be in flight for ever.
          onReceiveMetadata: (metadata) => {
            const refuse = (error: unknown): void => call.sendStatus(statusObject(error, this.#options.reportFault));
            try {
              const admitted = this.#admit(definition.path, call, metadata);
              if (admitted instanceof Promise) admitted.then((caller) => start(caller, metadata)).catch(refuse);
              else start(admitted, metadata);
            } catch (error) {
              refuse(error);
            }
          },
          onReceiveMessage: (message: Buffer) => driver?.onReceiveMessage(message),
          onReceiveHalfClose: () => driver?.onReceiveHalfClose(),
          onCancel: () => {
            isCancelled = true;
            driver?.onCancel();
          },
        }),
    });
  };

  #admit(path: string, call: ServerInterceptingCallInterface, metadata: Metadata): Caller | Promise<Caller> {
    if (this.#draining) throw new CacheError("unavailable", "the server is shutting down");
    return this.#options.admission.admit(path, {
      authorization: metadata.get("authorization").find((value) => typeof value === "string"),
      certificate: certificateFrom(call.getAuthContext().sslPeerCertificate),
      peer: call.getPeer(),
    });
  }

  #startCall(method: BoundMethod, call: ServerInterceptingCallInterface, caller: Caller): GrpcJsCall {
    const { observer, memory, reportFault, sendBufferBytesMax, sendStallTimeoutMs } = this.#options;
    const { path } = method.definition;
    const startedMs = performance.now();
    observer?.started(path);
    let ended: CallEnd | undefined;
    const driver = new GrpcJsCall(method, call, {
      caller,
      memory,
      reportFault,
      sendBufferBytesMax,
      sendStallTimeoutMs,
      onStarted: (started) => {
        ended = observer?.watch?.(started);
      },
      onFinished: (finished, statusCode) => {
        this.#calls.delete(finished);
        const durationMs = performance.now() - startedMs;
        observer?.finished(path, statusCode, durationMs, finished.shedBy);
        ended?.(statusCode, durationMs);
        this.#onProgress?.();
      },
    });
    this.#calls.add(driver);
    return driver;
  }
}

function neverCalled(): never {
  throw new Error("the interceptor answers every call");
}

function unchanged(message: Buffer): Buffer {
  return message;
}
