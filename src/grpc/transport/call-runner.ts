import { CacheError } from "../../cache/cache-error.ts";
import type { BoundMethod, CallContext, MethodDefinition } from "./handler.ts";

/** One call as a transport carries it: whole encoded messages, both ways. */
export interface CallWire {
  /** Iterated once at the most. Ends at the client's half-close; throws the signal's reason when the call is aborted. */
  readonly requests: AsyncIterable<Buffer>;
  /**
   * Sends a message. A promise means that enough is under way for now: it settles, never rejecting, when there is room
   * again or when the call is aborted.
   */
  send(message: Buffer): Promise<void> | undefined;
}

/**
 * Runs the handler of a call from its first request to its last response. Resolves where the call succeeded.
 * @throws whatever the handler throws, or a `CacheError` for requests that are undecodable or too few or too many.
 */
export async function runCall(method: BoundMethod, wire: CallWire, call: CallContext): Promise<void> {
  const { definition } = method;
  const encode = (response: unknown): Buffer => definition.encodeResponse(response);
  switch (method.kind) {
    case "unary": {
      const request = definition.decodeRequest(await onlyMessage(wire.requests));
      await wire.send(encode(await method.handler(request, call)));
      return;
    }
    case "serverStream": {
      const request = definition.decodeRequest(await onlyMessage(wire.requests));
      await sendAll(method.handler(request, call), encode, wire, call.signal);
      return;
    }
    case "clientStream": {
      const requests = decoded(wire.requests, definition);
      await wire.send(encode(await method.handler(requests, call)));
      return;
    }
    case "duplex": {
      const requests = decoded(wire.requests, definition);
      await sendAll(method.handler(requests, call), encode, wire, call.signal);
    }
  }
}

async function onlyMessage(messages: AsyncIterable<Buffer>): Promise<Buffer> {
  let only: Buffer | undefined;
  for await (const message of messages) {
    if (only !== undefined) throw new CacheError("unimplemented", "expected one request message, got another");
    only = message;
  }
  if (only === undefined) throw new CacheError("unimplemented", "expected one request message, got none");
  return only;
}

/** Not a generator: `return()` has to get through while a `next()` is pending. */
function decoded<Request>(
  messages: AsyncIterable<Buffer>,
  definition: MethodDefinition<Request, unknown>,
): AsyncIterable<Request> {
  return {
    [Symbol.asyncIterator]: () => {
      const iterator = messages[Symbol.asyncIterator]();
      return {
        next: async () => {
          const result = await iterator.next();
          return result.done === true ? result : { done: false, value: definition.decodeRequest(result.value) };
        },
        return: async () => {
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

async function sendAll<Response>(
  responses: AsyncIterable<Response>,
  encode: (response: Response) => Buffer,
  wire: CallWire,
  signal: AbortSignal,
): Promise<void> {
  const iterator = responses[Symbol.asyncIterator]();
  let returned: Promise<unknown> | undefined;
  const stop = (): void => {
    // A fault of the handler's clean-up comes too late to be anybody's answer.
    returned ??= Promise.resolve(iterator.return?.()).catch(() => {});
  };
  // The handler may be waiting for something else than the client: it is told at once, not at its next yield.
  signal.addEventListener("abort", stop, { once: true });
  try {
    for (;;) {
      const result = await iterator.next();
      signal.throwIfAborted();
      if (result.done === true) return;
      const room = wire.send(encode(result.value));
      if (room !== undefined) await room;
      signal.throwIfAborted();
    }
  } catch (error) {
    stop();
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    await returned;
  }
}
