import type { Socket } from "node:net";
import type { Caller } from "../../auth/caller.ts";

/** What a handler knows of the call that it answers. */
export interface CallContext {
  /** `/package.Service/Method` */
  readonly path: string;
  /** `address:port` of the client. */
  readonly peer: string;
  /** Who makes the call. */
  readonly caller: Caller;
  /** First value of an ASCII header, lower-case name. */
  header(name: string): string | undefined;
  /** First value of a `-bin` header, decoded. */
  binaryHeader(name: string): Uint8Array | undefined;
  /** Aborted when the client cancels or vanishes, when the deadline passes, and when draining runs out of time. */
  readonly signal: AbortSignal;
  /**
   * Takes memory for the answer from what all calls share; it is given back when the call is over, which for a large
   * answer is when nearly all of it is sent. No promise where there is room, as there mostly is.
   * @throws {CacheError} resource_exhausted where there was none in time, also as what the promise rejects with.
   */
  holdMemory(bytes: number): Promise<void> | undefined;
}

/** No promise where nothing has to be waited for: then the answer leaves at once. */
export type UnaryHandler<Request, Response> = (request: Request, call: CallContext) => Promise<Response> | Response;
/** Responses that the transport takes one by one. Those that are here cost no promise. */
export interface ResponseSource<Response> {
  /**
   * The next response where it is here; undefined where it has to be waited for, and where that was all.
   * @param bytesMax of a response, where what there is to send can be divided.
   */
  take(bytesMax: number): Response | undefined;
  /** Waits until {@link take} has a response (true) or there will be none (false). */
  more(): Promise<boolean> | false;
  /** Nothing more is taken. May be called while `more` is pending, and more than once. */
  close(): void;
}

/**
 * The transport honours back-pressure between yields and calls `return()` when the client goes away; of a
 * {@link ResponseSource}, it takes no more than there is room for, and closes it in any case.
 */
export type ServerStreamHandler<Request, Response> = (
  request: Request,
  call: CallContext,
) => AsyncIterable<Response> | ResponseSource<Response>;
/** The requests of a client stream, as they come; each is the handler's own, to change. */
export interface RequestStream<Request> extends AsyncIterable<Request> {
  /**
   * The next request where it is here already, which spares a promise; undefined where it has to be waited for, or
   * where there is none. Not to be called while a `next()` is pending.
   * @throws the reason where the call is aborted, and what decoding throws.
   */
  takeReady(): Request | undefined;
  /**
   * From now on a request that is here, or comes while `next()` is pending, is offered first. What it is made of is
   * valid only until `consumer` returns: so bytes can be taken from where they were received. A transport need not
   * offer anything.
   * @param consumer takes a request and returns true; or leaves of it what it cannot take, which {@link takeReady} and
   * `next()` then give, and returns false.
   */
  offerTo(consumer: (request: Request) => boolean): void;
}
/** A handler may return before the last request was read: the transport then ends the call and discards the rest. */
export type ClientStreamHandler<Request, Response> = (
  requests: RequestStream<Request>,
  call: CallContext,
) => Promise<Response>;
export type DuplexHandler<Request, Response> = (
  requests: RequestStream<Request>,
  call: CallContext,
) => AsyncIterable<Response>;

/** Decodes a message that arrives in parts as several requests that together mean the same. */
export interface PartDecoder<Request> {
  /** A request as it was returned, or as a consumer has left it, made of no views. */
  keep(request: Request): Request;
  /**
   * @param bytes the first part. The request may be made of views of it.
   * @returns what it amounts to; undefined: this message has to be decoded whole.
   */
  begin(bytes: Buffer): Request | undefined;
  /**
   * @param bytes the next part. @param isLast whether the message ends with it.
   * @returns undefined where it adds nothing yet. Throws where the message is malformed.
   */
  continue(bytes: Buffer, isLast: boolean): Request | undefined;
}

/** How one rpc looks on the wire. */
export interface MethodDefinition<Request, Response> {
  /** `/package.Service/Method` */
  readonly path: string;
  decodeRequest(bytes: Buffer): Request;
  /** Whether requests are made of no views of what they were decoded from, which then need not be copied before. */
  readonly isDecodedWithoutViews?: boolean;
  /** For client streams of large messages: spares copying each one together. One decoder serves one call. */
  partDecoder?(): PartDecoder<Request>;
  encodeResponse(response: Response): Buffer;
  /** The same in pieces, so that large ones need no copy. They must not change any more. */
  encodeResponsePieces?(response: Response): readonly Buffer[];
  /**
   * Where the pieces are in memory that will be used again: what to call once they are sent, or copied. Whoever does
   * not call it costs others new memory; too early, and a client gets wrong bytes.
   */
  lentBy?(response: Response): (() => void) | undefined;
}

/** One rpc with its handler; the four kinds of gRPC calls. Handlers throw CacheError; the transport translates. */
export type BoundMethod =
  | { kind: "unary"; definition: MethodDefinition<unknown, unknown>; handler: UnaryHandler<unknown, unknown> }
  | {
      kind: "serverStream";
      definition: MethodDefinition<unknown, unknown>;
      handler: ServerStreamHandler<unknown, unknown>;
    }
  | {
      kind: "clientStream";
      definition: MethodDefinition<unknown, unknown>;
      handler: ClientStreamHandler<unknown, unknown>;
    }
  | { kind: "duplex"; definition: MethodDefinition<unknown, unknown>; handler: DuplexHandler<unknown, unknown> };

/** Carries bound methods over HTTP/2 connections that somebody else accepted. */
export interface GrpcTransport {
  /** Takes over a connection whose first bytes (the HTTP/2 preface) are still unread. */
  accept(socket: Socket): void;
  /** GOAWAY on every connection; resolves when the calls in flight are done, or cancels them at `deadlineMs`. */
  drain(deadlineMs: number): Promise<void>;
  readonly callsInFlight: number;
}
