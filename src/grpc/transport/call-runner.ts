import { CacheError } from "../../cache/cache-error.ts";
import { nextTurn } from "../../cache/turns.ts";
import type { BoundMethod, CallContext, MethodDefinition, RequestStream, ResponseSource } from "./handler.ts";

/** Sent for one call before others get a turn, where client and socket take all that there is. */
const RESPONSES_PER_TURN = 4;

export type EncodedResponse = Buffer | readonly Buffer[];

/** One call as a transport carries it: requests decoded, responses encoded. */
export interface CallWire {
  /**
   * The next request where it is here; undefined otherwise.
   * @throws the reason where the call is aborted, and what decoding throws.
   */
  take(): unknown;
  /** @see RequestStream.offerTo */
  offerTo?(consumer: (request: unknown) => boolean): void;
  /**
   * Waits until {@link take} has a request (true) or the client has half-closed and there will be none (false). Not to
   * be called again before it has settled. @throws the reason where the call is aborted.
   */
  more(): Promise<boolean>;
  /** No further request will come, and none waits to be taken. */
  readonly isDrained: boolean;
  /**
   * Sends a message, which may be in pieces. A promise means that enough is under way for now: it settles, never rejecting, when there is room
   * again or when the call is aborted.
   * @param giveBack see `MethodDefinition.lentBy`.
   */
  send(message: EncodedResponse, giveBack?: () => void): Promise<void> | undefined;
  /** There is room for a message of so many bytes now; undefined: for any. */
  readonly roomBytes?: number;
  /** @throws the reason where the call is aborted. */
  throwIfAborted(): void;
  /** Called when the call is aborted. */
  onAbort: (() => void) | undefined;
}

/**
 * Runs the handler of a call from its first request to its last response. Resolves where the call succeeded, and is no
 * promise where that has happened before it returns.
 * @throws whatever the handler throws, or a `CacheError` for requests that are undecodable or too few or too many.
 */
export function runCall(method: BoundMethod, wire: CallWire, call: CallContext): Promise<void> | undefined {
  switch (method.kind) {
    case "unary":
      return runUnary(method, wire, call);
    case "serverStream":
      return runServerStream(method, wire, call);
    case "clientStream":
      return runClientStream(method, wire, call);
    case "duplex":
      return sendAll(method.handler(new Requests(wire), call), method.definition, wire);
  }
}

function runUnary(
  { definition, handler }: Extract<BoundMethod, { kind: "unary" }>,
  wire: CallWire,
  call: CallContext,
): Promise<void> | undefined {
  const request = onlyRequest(wire);
  const handling = request instanceof Promise ? request.then((only) => handler(only, call)) : handler(request, call);
  if (!(handling instanceof Promise)) return wire.send(encodeWith(definition, handling));
  return handling.then((response) => wire.send(encodeWith(definition, response)));
}

function runServerStream(
  { definition, handler }: Extract<BoundMethod, { kind: "serverStream" }>,
  wire: CallWire,
  call: CallContext,
): Promise<void> | undefined {
  const respond = (request: unknown): Promise<void> | undefined => {
    const responses = handler(request, call);
    return Symbol.asyncIterator in responses
      ? sendAll(responses, definition, wire)
      : sendFrom(responses, definition, wire);
  };
  const request = onlyRequest(wire);
  return request instanceof Promise ? request.then(respond) : respond(request);
}

function encodeWith(definition: MethodDefinition<unknown, unknown>, response: unknown): EncodedResponse {
  return definition.encodeResponsePieces?.(response) ?? definition.encodeResponse(response);
}

async function runClientStream(
  { definition, handler }: Extract<BoundMethod, { kind: "clientStream" }>,
  wire: CallWire,
  call: CallContext,
): Promise<void> {
  await wire.send(encodeWith(definition, await handler(new Requests(wire), call)));
}

/** Where it is here already, as it mostly is, no promise is made. */
function onlyRequest(wire: CallWire): unknown {
  const only = wire.take();
  return only !== undefined && wire.isDrained ? only : awaitOnlyRequest(wire, only);
}

async function awaitOnlyRequest(wire: CallWire, taken: unknown): Promise<unknown> {
  const only = taken ?? ((await wire.more()) ? wire.take() : undefined);
  if (only === undefined) throw new CacheError("unimplemented", "expected one request message, got none");
  if (await wire.more()) throw new CacheError("unimplemented", "expected one request message, got another");
  return only;
}

const ITERATION_END: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** Not a generator: `return()` has to get through while a `next()` is pending. */
class Requests implements RequestStream<unknown>, AsyncIterator<unknown, undefined> {
  readonly #wire: CallWire;

  constructor(wire: CallWire) {
    this.#wire = wire;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  takeReady(): unknown {
    return this.#wire.take();
  }

  offerTo(consumer: (request: unknown) => boolean): void {
    this.#wire.offerTo?.(consumer);
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    try {
      const value = this.#wire.take();
      return value === undefined ? this.#awaitNext() : Promise.resolve({ done: false, value });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** What is left is the transport's to discard, once the call has ended. */
  return(): Promise<IteratorReturnResult<undefined>> {
    return Promise.resolve(ITERATION_END);
  }

  async #awaitNext(): Promise<IteratorResult<unknown, undefined>> {
    const value = (await this.#wire.more()) ? this.#wire.take() : undefined;
    return value === undefined ? ITERATION_END : { done: false, value };
  }
}

async function sendAll(
  responses: AsyncIterable<unknown>,
  definition: MethodDefinition<unknown, unknown>,
  wire: CallWire,
): Promise<void> {
  const iterator = responses[Symbol.asyncIterator]();
  let returned: Promise<unknown> | undefined;
  const stop = (): void => {
    // A fault of the handler's clean-up comes too late to be anybody's answer.
    returned ??= Promise.resolve(iterator.return?.()).catch(() => {});
  };
  // The handler may be waiting for something else than the client: it is told at once, not at its next yield.
  wire.onAbort = stop;
  try {
    for (;;) {
      const result = await iterator.next();
      wire.throwIfAborted();
      if (result.done === true) return;
      const room = wire.send(encodeWith(definition, result.value), definition.lentBy?.(result.value));
      if (room !== undefined) await room;
      wire.throwIfAborted();
    }
  } catch (error) {
    stop();
    throw error;
  } finally {
    wire.onAbort = undefined;
    await returned;
  }
}

function sendFrom(
  source: ResponseSource<unknown>,
  definition: MethodDefinition<unknown, unknown>,
  wire: CallWire,
): Promise<void> | undefined {
  let waiting: Promise<boolean | void> | false = false;
  try {
    waiting = sendReady(source, definition, wire);
  } finally {
    if (waiting === false) source.close();
  }
  return waiting === false ? undefined : sendRest(source, definition, wire, waiting);
}

/** @param first what has to be waited for before there is more to send. */
async function sendRest(
  source: ResponseSource<unknown>,
  definition: MethodDefinition<unknown, unknown>,
  wire: CallWire,
  first: Promise<boolean | void>,
): Promise<void> {
  wire.onAbort = () => source.close();
  try {
    let waiting: Promise<boolean | void> | false = first;
    while (waiting !== false && (await waiting) !== false) {
      wire.throwIfAborted();
      waiting = sendReady(source, definition, wire);
    }
  } finally {
    wire.onAbort = undefined;
    source.close();
  }
}

/**
 * Sends what is here as far as there is room.
 * @returns what has to be waited for before it can go on; false, or what resolves to false, where that was all.
 */
function sendReady(
  source: ResponseSource<unknown>,
  definition: MethodDefinition<unknown, unknown>,
  wire: CallWire,
): Promise<boolean | void> | false {
  for (let sent = 0; sent < RESPONSES_PER_TURN; sent++) {
    const response = source.take(wire.roomBytes ?? Number.POSITIVE_INFINITY);
    if (response === undefined) return source.more();
    const room = wire.send(encodeWith(definition, response), definition.lentBy?.(response));
    if (room !== undefined) return room;
  }
  return nextTurn();
}
