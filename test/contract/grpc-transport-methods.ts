/**
 * Methods to try a transport with, and calls of them. Their messages are UTF-8 texts, so that nothing but the transport
 * is under test; the text "undecodable" cannot be decoded.
 */
import { once } from "node:events";
import {
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { CacheError } from "../../src/cache/cache-error.ts";
import type {
  BoundMethod,
  ClientStreamHandler,
  DuplexHandler,
  MethodDefinition,
  ServerStreamHandler,
  UnaryHandler,
} from "../../src/grpc/transport/handler.ts";

export interface TextHandlers {
  Unary?: UnaryHandler<string, string>;
  ServerStream?: ServerStreamHandler<string, string>;
  ClientStream?: ClientStreamHandler<string, string>;
  Duplex?: DuplexHandler<string, string>;
}

export function textMethods(handlers: TextHandlers): BoundMethod[] {
  return Object.entries(handlers).map(([name, handler]) => {
    const kind = `${name[0]!.toLowerCase()}${name.slice(1)}`;
    return { kind, definition: textDefinition(path(name as keyof TextHandlers)), handler } as BoundMethod;
  });
}

export function path(name: keyof TextHandlers): string {
  return `/kura.test.Texts/${name}`;
}

function textDefinition(methodPath: string): MethodDefinition<string, string> {
  return {
    path: methodPath,
    decodeRequest: (bytes) => {
      const text = bytes.toString();
      if (text === "undecodable") throw new CacheError("invalid_argument", "expected a text, got something else");
      return text;
    },
    encodeResponse: (text) => Buffer.from(text),
  };
}

const toBytes = (text: string): Buffer => Buffer.from(text);
const toText = (bytes: Buffer): string => bytes.toString();

/** How a call ended for the client. */
export interface Outcome {
  /** Responses before the end. */
  readonly texts: string[];
  readonly error: ServiceError | undefined;
}

export interface UnaryCallOptions {
  readonly method?: string;
  readonly metadata?: Metadata;
  readonly deadlineMs?: number;
}

/** @throws {ServiceError} */
export function unary(client: Client, text: string, options: UnaryCallOptions = {}): Promise<string> {
  const { method = path("Unary"), metadata = new Metadata(), deadlineMs } = options;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      method,
      toBytes,
      toText,
      text,
      metadata,
      deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
      (error, response) => {
        if (error === null) resolve(response ?? "");
        else reject(error);
      },
    );
  });
}

export function serverStream(client: Client, text: string): ClientReadableStream<string> {
  return client.makeServerStreamRequest(path("ServerStream"), toBytes, toText, text);
}

export interface ClientStreamCall {
  readonly stream: ClientWritableStream<string>;
  readonly outcome: Promise<Outcome>;
}

export function clientStream(client: Client): ClientStreamCall {
  let stream!: ClientWritableStream<string>;
  const outcome = new Promise<Outcome>((resolve) => {
    stream = client.makeClientStreamRequest(path("ClientStream"), toBytes, toText, (error, response) =>
      resolve({ texts: response === undefined ? [] : [response], error: error ?? undefined }),
    );
  });
  // Writes that a call has ended under are the test's own doing.
  stream.on("error", () => {});
  return { stream, outcome };
}

export function duplex(client: Client, method: string = path("Duplex")): ClientDuplexStream<string, string> {
  return client.makeBidiStreamRequest(method, toBytes, toText);
}

/** Reads a stream to its end. */
export async function collect(
  stream: ClientReadableStream<string> | ClientDuplexStream<string, string>,
): Promise<Outcome> {
  const texts: string[] = [];
  try {
    for await (const text of stream) texts.push(text as string);
    return { texts, error: undefined };
  } catch (error) {
    return { texts, error: error as ServiceError };
  }
}

/** The error that a promise is rejected with. */
export async function failure(promise: Promise<unknown>): Promise<ServiceError> {
  try {
    await promise;
  } catch (error) {
    return error as ServiceError;
  }
  throw new Error("expected a failure, got a success");
}

/** A grpc-js client holds the server back only once it has begun to read. */
export async function pausedAfterFirst(stream: ReturnType<typeof serverStream>): Promise<typeof stream> {
  stream.on("error", () => {});
  await once(stream, "data");
  return stream.pause();
}
