import type { Caller } from "../../auth/caller.ts";
import { CacheError, type ShedReason, shedReasonOf } from "../../cache/cache-error.ts";
import type { MemoryBudget } from "../../cache/memory-budget.ts";
import type { Http2Stream, StreamListener } from "../../http2/http2-stream.ts";
import type { LoopTurns } from "../../http2/loop-turns.ts";
import { type Member, NOWHERE } from "../../member-list.ts";
import { type FaultReporter, GRPC_STATUS, statusOfError } from "../grpc-status.ts";
import { type CallWire, type EncodedResponse, runCall } from "./call-runner.ts";
import type { BoundMethod, CallContext } from "./handler.ts";
import { HeldMemory } from "./held-memory.ts";
import type { Decompressor } from "./native-decompressor.ts";
import { MESSAGE_PREFIX_BYTES } from "./native-message-assembler.ts";
import type { CallHead } from "./native-request-head.ts";
import { RequestQueue } from "./native-request-queue.ts";
import { EMPTY_OK_BLOCK, OK_TRAILERS_BLOCK, RESPONSE_BLOCK, statusBlock } from "./native-response-blocks.ts";

export interface NativeCallOptions {
  readonly peer: string;
  readonly caller: Caller;
  readonly messageBytesMax: number;
  readonly sendBufferBytesMax: number;
  readonly sendStallTimeoutMs: number;
  readonly memory: MemoryBudget;
  readonly sendTurns: LoopTurns;
  readonly decompressor: Decompressor;
  readonly reportFault: FaultReporter;
  /** The call is over: its handler has settled. */
  readonly onFinished: (call: NativeCall, statusCode: number) => void;
}

/** One call on a stream of our own HTTP/2. */
export class NativeCall implements CallContext, CallWire, StreamListener, Member {
  place = NOWHERE;
  readonly path: string;
  readonly #stream: Http2Stream;
  readonly #method: BoundMethod;
  readonly #options: NativeCallOptions;
  readonly #requests: RequestQueue;
  /** Made when somebody takes some: most handlers do not. */
  #memory: HeldMemory | undefined;
  /** Made when somebody asks for it: most handlers do not. */
  #abortController: AbortController | undefined;
  #abortReason: CacheError | undefined;
  onAbort: (() => void) | undefined;
  /** Why there was no room for it. */
  shedBy: ShedReason | undefined;
  #isRunning = false;
  #isFinished = false;
  #hasResponded = false;
  #roomWaiter: (() => void) | undefined;
  #deadlineTimer: NodeJS.Timeout | undefined;
  /** Of a single request that does not come at once. */
  #requestTimer: NodeJS.Timeout | undefined;

  constructor(stream: Http2Stream, head: CallHead, options: NativeCallOptions) {
    const { method, isGzip } = head;
    const { definition } = method;
    const { messageBytesMax, memory, decompressor } = options;
    this.path = definition.path;
    this.#stream = stream;
    this.#method = method;
    this.#options = options;
    const onFault = (error: CacheError): void => this.cancel(error);
    this.#requests = new RequestQueue({
      stream,
      definition,
      isGzip,
      messageBytesMax,
      memory,
      decompressor,
      onFault,
    });
  }

  get peer(): string {
    return this.#options.peer;
  }

  get caller(): Caller {
    return this.#options.caller;
  }

  get signal(): AbortSignal {
    if (this.#abortController === undefined) {
      this.#abortController = new AbortController();
      if (this.#abortReason !== undefined) this.#abortController.abort(this.#abortReason);
    }
    return this.#abortController.signal;
  }

  holdMemory(bytes: number): Promise<void> | undefined {
    this.#memory ??= new HeldMemory(this.#options.memory);
    return this.#memory.take(bytes);
  }

  header(name: string): string | undefined {
    return name.endsWith("-bin") ? undefined : this.#stream.headers.get(name);
  }

  binaryHeader(name: string): Uint8Array | undefined {
    // Several values of one name may come joined by commas.
    const value = name.endsWith("-bin") ? this.#stream.headers.get(name)?.split(",", 1)[0] : undefined;
    return value === undefined ? undefined : Buffer.from(value, "base64");
  }

  start(deadlineMs: number | undefined): void {
    if (deadlineMs !== undefined) {
      const passed = (): void =>
        this.cancel(new CacheError("deadline_exceeded", "the deadline of the call has passed"));
      this.#deadlineTimer = setTimeout(passed, deadlineMs).unref();
    }
    // What there is to do is done when as much is here as has come with this chunk.
    this.#stream.awaitChunkEnd();
  }

  /** Ends the call for `reason`: the handler hears of it, and the client, if it is still there. */
  cancel(reason: CacheError): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#stream.dropUnsent();
    const code = this.#end(reason);
    this.#abortController?.abort(reason);
    this.#requests.fail(reason);
    this.#releaseSender();
    this.onAbort?.();
    if (!this.#isRunning) this.#finished(code);
  }

  // What the stream reports

  onData(chunk: Buffer, start: number, end: number): void {
    if (this.#abortReason !== undefined || this.#isFinished) return this.#stream.consume(end - start);
    this.#requestTimer?.refresh();
    this.#requests.push(chunk, start, end);
  }

  onChunkEnd(): void {
    if (this.#abortReason !== undefined || this.#isFinished) return;
    // Before the bytes of the chunk are gone.
    if (!this.#isRunning && this.#isStreaming) this.#run();
    this.#requests.endChunk();
    if (!this.#isRunning && this.#requestTimer === undefined) this.#awaitRequest();
  }

  onEnd(): void {
    this.#requests.end();
    if (!this.#isRunning && this.#abortReason === undefined) this.#run();
  }

  onAborted(): void {
    this.cancel(new CacheError("cancelled", "the client has cancelled the call or gone away"));
  }

  onSent(): void {
    if (this.#stream.unsentBytes < this.roomBytes) this.#releaseSender();
  }

  onSendStalled(): void {
    const { sendStallTimeoutMs } = this.#options;
    this.cancel(new CacheError("deadline_exceeded", `no response was taken for ${sendStallTimeoutMs} ms`));
  }

  // What the runner asks for

  take(): unknown {
    this.throwIfAborted();
    return this.#requests.take();
  }

  more(): Promise<boolean> {
    return this.#abortReason === undefined ? this.#requests.more() : Promise.reject(this.#abortReason);
  }

  get isDrained(): boolean {
    return this.#requests.isDrained;
  }

  get roomBytes(): number {
    return Math.min(this.#options.sendBufferBytesMax, this.#stream.roomBytes);
  }

  throwIfAborted(): void {
    if (this.#abortReason !== undefined) throw this.#abortReason;
  }

  send(message: EncodedResponse, giveBack?: () => void): Promise<void> | undefined {
    if (this.#abortReason !== undefined) return undefined;
    const isFirst = !this.#hasResponded;
    if (isFirst) {
      this.#hasResponded = true;
      this.#stream.respond(RESPONSE_BLOCK);
    }
    // In one go: a frame ends where a write ends.
    const pieces = Buffer.isBuffer(message)
      ? [encodePrefix(message.length), message]
      : [encodePrefix(sumOfLengths(message)), ...message];
    if (giveBack === undefined) this.#stream.write(...pieces);
    else this.#stream.writeLent(pieces, giveBack);
    if (this.#stream.unsentBytes < this.roomBytes) {
      const { sendTurns } = this.#options;
      sendTurns.spend(sumOfLengths(pieces));
      // Most answers are one message, and have nothing to share with those that are many.
      return isFirst ? undefined : sendTurns.next();
    }
    return new Promise((resolve) => {
      this.#roomWaiter = resolve;
    });
  }

  offerTo(consumer: (request: unknown) => boolean): void {
    if (this.#abortReason === undefined) this.#requests.offerTo(consumer);
  }

  get #isStreaming(): boolean {
    return this.#method.kind === "clientStream" || this.#method.kind === "duplex";
  }

  /** Runs the handler, to the end where nothing has to be waited for. Never throws. */
  #run(): void {
    this.#isRunning = true;
    clearTimeout(this.#requestTimer);
    let running: Promise<void> | undefined;
    try {
      running = runCall(this.#method, this, this);
    } catch (error) {
      return this.#fail(error);
    }
    if (running === undefined) this.#succeed();
    else running.then(this.#succeed, this.#fail);
  }

  readonly #succeed = (): void => {
    if (this.#abortReason !== undefined) return this.#fail(this.#abortReason);
    // A handler that has its answer needs the rest of the requests no more.
    if (this.#hasResponded) this.#stream.end(OK_TRAILERS_BLOCK);
    else this.#stream.respond(EMPTY_OK_BLOCK, true);
    this.#finished(GRPC_STATUS.ok);
  };

  readonly #fail = (error: unknown): void => {
    this.#finished(this.#end(this.#abortReason ?? error));
  };

  /** Ends the response with the status of an error. @returns its code. */
  #end(error: unknown): number {
    const status = statusOfError(error, this.#options.reportFault, this);
    this.shedBy = shedReasonOf(error);
    if (this.#hasResponded) this.#stream.end(statusBlock(status, false));
    else this.#stream.respond(statusBlock(status, true), true);
    return status.code;
  }

  #finished(statusCode: number): void {
    this.#isFinished = true;
    clearTimeout(this.#deadlineTimer);
    clearTimeout(this.#requestTimer);
    this.#requests.close();
    this.#memory?.giveBack();
    this.#stream.settle();
    this.#options.onFinished(this, statusCode);
  }

  /** Progress is asked of those that send, too (HAZARDS H14); for client streams it is up to their handlers. */
  #awaitRequest(): void {
    const { sendStallTimeoutMs } = this.#options;
    const stalled = (): void =>
      this.cancel(new CacheError("deadline_exceeded", `no byte of the request came for ${sendStallTimeoutMs} ms`));
    this.#requestTimer = setTimeout(stalled, sendStallTimeoutMs).unref();
  }

  #releaseSender(): void {
    this.#roomWaiter?.();
    this.#roomWaiter = undefined;
  }
}

function encodePrefix(messageBytes: number): Buffer {
  const prefix = Buffer.allocUnsafe(MESSAGE_PREFIX_BYTES);
  prefix[0] = 0;
  prefix.writeUInt32BE(messageBytes, 1);
  return prefix;
}

function sumOfLengths(pieces: readonly Buffer[]): number {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  return bytes;
}
