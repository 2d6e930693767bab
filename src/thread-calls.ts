import type { Transferable } from "node:worker_threads";
import { CacheError, type CacheErrorCode } from "./cache/cache-error.ts";

/** What a thread can be asked: one row per method, shared by both sides. */
type MethodRows<Methods> = { readonly [Name in keyof Methods]: { request: unknown; response: unknown } };

/** A call that is being answered. */
export interface IncomingCall {
  /** Aborted once nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

export type CallHandlers<Methods extends MethodRows<Methods>> = {
  readonly [Name in keyof Methods]: (
    request: Methods[Name]["request"],
    call: IncomingCall,
  ) => Promise<Methods[Name]["response"]> | Methods[Name]["response"];
};

/** One end of a channel between threads: a MessagePort, or a Worker as its parent sees it. */
export interface ThreadPort {
  postMessage(message: unknown, transfer?: readonly Transferable[]): void;
  on(event: "message", listener: (message: unknown) => void): unknown;
}

export interface CallOptions {
  /** What moves to the other thread instead of being copied. */
  readonly transfer?: readonly Transferable[];
  /** Tells the other side that the answer is of no use any more; the call still waits for what it answers. */
  readonly signal?: AbortSignal;
}

type Failure =
  | { readonly code: CacheErrorCode; readonly message: string; readonly retryAfterMs: number | undefined }
  | { readonly error: unknown };

type Message =
  | { readonly kind: "call"; readonly id: number; readonly method: string; readonly request: unknown }
  | { readonly kind: "answer"; readonly id: number; readonly response: unknown }
  | { readonly kind: "failure"; readonly id: number; readonly failure: Failure }
  | { readonly kind: "cancel"; readonly id: number };

/**
 * Calls between two threads, both ways over one port: `Asked` is what the other side answers, `Answered` what this side
 * does. Each side bounds how many calls it has in flight by what it makes them for.
 */
export class ThreadCalls<Asked extends MethodRows<Asked>, Answered extends MethodRows<Answered>> {
  readonly #port: ThreadPort;
  readonly #handlers: CallHandlers<Answered>;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #answering = new Map<number, AnsweredCall>();
  #lastId = 0;
  #end: { readonly error: unknown } | undefined;
  #onIdle: (() => void) | undefined;

  constructor(port: ThreadPort, handlers: CallHandlers<Answered>) {
    this.#port = port;
    this.#handlers = handlers;
    port.on("message", (message) => this.#receive(message as Message));
  }

  get callsInFlight(): number {
    return this.#waiting.size;
  }

  /** @throws what the handler throws, a CacheError with its code; the reason of `end` where the other side is gone. */
  call<Name extends keyof Asked & string>(
    method: Name,
    request: Asked[Name]["request"],
    { transfer, signal }: CallOptions = {},
  ): Promise<Asked[Name]["response"]> {
    if (this.#end !== undefined) return Promise.reject(this.#end.error);
    this.#lastId += 1;
    const id = this.#lastId;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#post({ kind: "call", id, method, request }, transfer);
    if (signal === undefined) return waiting.promise as Promise<Asked[Name]["response"]>;
    const cancel = (): void => this.#post({ kind: "cancel", id });
    if (signal.aborted) cancel();
    else signal.addEventListener("abort", cancel, { once: true });
    return waiting.promise.finally(() => signal.removeEventListener("abort", cancel)) as Promise<
      Asked[Name]["response"]
    >;
  }

  /** The other side is gone: who waits for it fails with `error`, and so does every later call. */
  end(error: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    for (const call of this.#answering.values()) call.cancel();
  }

  /** Resolves once nothing that the other side has asked is being answered. */
  async idle(): Promise<void> {
    if (this.#answering.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onIdle = resolve;
    await promise;
  }

  #receive(message: Message): void {
    switch (message.kind) {
      case "call":
        void this.#answer(message.id, message.method as keyof Answered, message.request);
        return;
      case "answer":
        this.#take(message.id)?.resolve(message.response);
        return;
      case "failure":
        this.#take(message.id)?.reject(thrownError(message.failure));
        return;
      case "cancel":
        this.#answering.get(message.id)?.cancel();
    }
  }

  async #answer<Name extends keyof Answered>(
    id: number,
    method: Name,
    request: Answered[Name]["request"],
  ): Promise<void> {
    const call = new AnsweredCall();
    this.#answering.set(id, call);
    try {
      this.#post({ kind: "answer", id, response: await this.#handlers[method](request, call) });
    } catch (error) {
      this.#post({ kind: "failure", id, failure: sentFailure(error) });
    } finally {
      this.#answering.delete(id);
      if (this.#answering.size === 0) this.#onIdle?.();
    }
  }

  #take(id: number): PromiseWithResolvers<unknown> | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #post(message: Message, transfer?: readonly Transferable[]): void {
    if (this.#end === undefined) this.#port.postMessage(message, transfer);
  }
}

/** The signal is made when it is asked for: most calls are answered before anybody could cancel them. */
class AnsweredCall implements IncomingCall {
  #controller: AbortController | undefined;
  #isCancelled = false;

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#isCancelled) this.#controller.abort();
    return this.#controller.signal;
  }

  cancel(): void {
    this.#isCancelled = true;
    this.#controller?.abort();
  }
}

/** Between threads an error keeps its message and its stack, and loses its class. */
function sentFailure(error: unknown): Failure {
  if (!(error instanceof CacheError)) return { error: error instanceof Error ? error : String(error) };
  return { code: error.code, message: error.message, retryAfterMs: error.retryAfterMs };
}

function thrownError(failure: Failure): unknown {
  if (!("code" in failure)) return failure.error;
  const { code, message, retryAfterMs } = failure;
  return new CacheError(code, message, retryAfterMs === undefined ? {} : { retryAfterMs });
}
