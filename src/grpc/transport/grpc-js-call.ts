import { Metadata, type ServerInterceptingCallInterface } from "@grpc/grpc-js";
import type { Caller } from "../../auth/caller.ts";
import { CacheError, type ShedReason, shedReasonOf } from "../../cache/cache-error.ts";
import type { MemoryBudget } from "../../cache/memory-budget.ts";
import { type FaultReporter, GRPC_STATUS, statusDetailsTrailer, statusOfError } from "../grpc-status.ts";
import { type EncodedResponse, runCall, type CallWire } from "./call-runner.ts";
import type { BoundMethod, CallContext } from "./handler.ts";
import { HeldMemory } from "./held-memory.ts";

export interface GrpcJsCallOptions {
  readonly caller: Caller;
  readonly memory: MemoryBudget;
  readonly sendBufferBytesMax: number;
  readonly sendStallTimeoutMs: number;
  readonly reportFault: FaultReporter;
  /** The headers of the call are known. */
  readonly onStarted: (call: GrpcJsCall) => void;
  /** The call is over: its handler has settled and its status is sent, or there is nobody left to send it to. */
  readonly onFinished: (call: GrpcJsCall, statusCode: number) => void;
}

/** Timers of grpc-js may fire a little before the wall clock says so. */
const DEADLINE_TOLERANCE_MS = 20;

interface PendingRead {
  /** @param isThere whether there is a message to take; else the client has half-closed. */
  resolve(isThere: boolean): void;
  reject(reason: unknown): void;
}

/** Request bytes of one call that are read before its handler asks: enough to keep it busy, as much as one window. */
const READ_AHEAD_BYTES_MAX = 64 * 1024;
/** What a waiting message costs besides its bytes, so that a thousand empty ones are bounded, too. */
const MESSAGE_OVERHEAD_BYTES = 128;

/**
 * One call over the interface that grpc-js offers to interceptors. It is used instead of the streams that grpc-js makes
 * for handlers, because those read 16 messages ahead, whatever their size.
 */
export class GrpcJsCall implements CallContext, CallWire {
  readonly path: string;
  readonly peer: string;
  readonly #call: ServerInterceptingCallInterface;
  readonly #method: BoundMethod;
  readonly #options: GrpcJsCallOptions;
  readonly #abort = new AbortController();
  #metadata = new Metadata();
  /** Messages that the handler has not asked for yet. */
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** The handler has asked and nothing was there. */
  #pendingRead: PendingRead | undefined;
  /** grpc-js has been asked for a message and has not reported it. */
  #reading = false;
  #insideReadAhead = false;
  #halfClosed = false;
  /** Bytes handed to grpc-js that the connection has not taken yet. */
  #unsentBytes = 0;
  #roomWaiter: (() => void) | undefined;
  #statusSent = false;
  readonly #memory: HeldMemory;
  onAbort: (() => void) | undefined;
  /** Why there was no room for it. */
  shedBy: ShedReason | undefined;

  constructor(method: BoundMethod, call: ServerInterceptingCallInterface, options: GrpcJsCallOptions) {
    this.path = method.definition.path;
    this.#method = method;
    this.#call = call;
    this.peer = call.getPeer();
    this.#options = options;
    this.#memory = new HeldMemory(options.memory);
  }

  get caller(): Caller {
    return this.#options.caller;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  holdMemory(bytes: number): Promise<void> | undefined {
    return this.#memory.take(bytes);
  }

  header(name: string): string | undefined {
    return this.#metadata.get(name).find((value) => typeof value === "string");
  }

  binaryHeader(name: string): Uint8Array | undefined {
    return this.#metadata.get(name).find((value) => typeof value !== "string");
  }

  /** Runs the call to its end. Never rejects. */
  async run(metadata: Metadata): Promise<void> {
    this.#metadata = metadata;
    this.#options.onStarted(this);
    let statusCode: number;
    try {
      await runCall(this.#method, this, this);
      this.signal.throwIfAborted();
      statusCode = GRPC_STATUS.ok;
      this.#sendStatus({ code: statusCode, details: "", metadata: null });
    } catch (error) {
      statusCode = this.#sendError(this.signal.aborted ? this.signal.reason : error);
    }
    this.#memory.giveBack();
    this.#options.onFinished(this, statusCode);
  }

  /** Ends the call for `reason`, which the client is told if it is still there. */
  cancel(reason: CacheError): void {
    if (this.signal.aborted) return;
    this.#abort.abort(reason);
    this.#pendingRead?.reject(reason);
    this.#pendingRead = undefined;
    this.#releaseSender();
    this.onAbort?.();
  }

  // What grpc-js reports

  onReceiveMessage(message: Buffer): void {
    this.#reading = false;
    this.#waiting.push(message);
    this.#waitingBytes += message.length + MESSAGE_OVERHEAD_BYTES;
    this.#pendingRead?.resolve(true);
    this.#pendingRead = undefined;
    this.#readAhead();
  }

  /**
   * A stream that the client resets ends, too, and grpc-js reports that end first. Asked to read, it notices a reset and
   * schedules `onCancel` for the next tick, ahead of the one scheduled here; for a true half-close it does nothing.
   */
  onReceiveHalfClose(): void {
    this.#call.startRead();
    process.nextTick(() => {
      if (this.signal.aborted) return;
      this.#halfClosed = true;
      this.#pendingRead?.resolve(false);
      this.#pendingRead = undefined;
    });
  }

  /** Also reported after a status has been sent, whoever sent it. */
  onCancel(): void {
    if (this.#statusSent) {
      this.#releaseSender();
      return;
    }
    this.#statusSent = true;
    this.cancel(this.#reasonOfCancellation());
  }

  // What the runner asks for

  take(): unknown {
    this.throwIfAborted();
    const message = this.#waiting.shift();
    if (message === undefined) return undefined;
    this.#waitingBytes -= message.length + MESSAGE_OVERHEAD_BYTES;
    this.#readAhead();
    return this.#method.definition.decodeRequest(message);
  }

  more(): Promise<boolean> {
    if (this.signal.aborted) return Promise.reject(this.signal.reason);
    if (this.#waiting.length > 0) return Promise.resolve(true);
    if (this.#halfClosed) return Promise.resolve(false);
    return new Promise((resolve, reject) => {
      // Set before the read: a message that is here already is reported from inside `startRead`.
      this.#pendingRead = { resolve, reject };
      this.#readAhead();
    });
  }

  get isDrained(): boolean {
    return this.#halfClosed && this.#waiting.length === 0;
  }

  throwIfAborted(): void {
    this.signal.throwIfAborted();
  }

  send(response: EncodedResponse, giveBack?: () => void): Promise<void> | undefined {
    if (this.signal.aborted) return undefined;
    const message = Buffer.isBuffer(response) ? response : Buffer.concat(response);
    // What is lent comes in pieces, which have just been copied.
    giveBack?.();
    this.#unsentBytes += message.length;
    this.#call.sendMessage(message, () => {
      this.#unsentBytes -= message.length;
      if (this.#unsentBytes < this.#options.sendBufferBytesMax) this.#releaseSender();
    });
    if (this.#unsentBytes < this.#options.sendBufferBytesMax) return undefined;
    return this.#roomToSend();
  }

  #roomToSend(): Promise<void> {
    const { sendStallTimeoutMs } = this.#options;
    return new Promise((resolve) => {
      const stalled = new CacheError("deadline_exceeded", `no response was taken for ${sendStallTimeoutMs} ms`);
      const timer = setTimeout(() => this.cancel(stalled), sendStallTimeoutMs);
      this.#roomWaiter = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #readAhead(): void {
    // Reports from inside `startRead` come back here: the loop below goes on instead of a recursion as deep as the queue.
    if (this.#insideReadAhead) return;
    this.#insideReadAhead = true;
    while (!this.#reading && !this.signal.aborted && this.#waitingBytes < READ_AHEAD_BYTES_MAX) {
      this.#reading = true;
      this.#call.startRead();
    }
    this.#insideReadAhead = false;
  }

  #releaseSender(): void {
    this.#roomWaiter?.();
    this.#roomWaiter = undefined;
  }

  #reasonOfCancellation(): CacheError {
    const deadline = Number(this.#call.getDeadline());
    return Date.now() >= deadline - DEADLINE_TOLERANCE_MS
      ? new CacheError("deadline_exceeded", "the deadline of the call has passed")
      : new CacheError("cancelled", "the client has cancelled the call or gone away");
  }

  /** @returns the code of the status. */
  #sendError(error: unknown): number {
    const status = statusObject(error, this.#options.reportFault, this);
    this.shedBy = shedReasonOf(error);
    this.#sendStatus(status);
    return status.code;
  }

  #sendStatus(status: StatusObject): void {
    if (this.#statusSent) return;
    this.#statusSent = true;
    this.#call.sendStatus(status);
  }
}

type StatusObject = Parameters<ServerInterceptingCallInterface["sendStatus"]>[0] & { readonly code: number };

/** How a call ends for `error`. */
export function statusObject(error: unknown, reportFault: FaultReporter, context?: CallContext): StatusObject {
  const status = statusOfError(error, reportFault, context);
  const metadata = new Metadata();
  const details = statusDetailsTrailer(status);
  if (details !== undefined) metadata.set("grpc-status-details-bin", details);
  return { code: status.code, details: status.message, metadata };
}
