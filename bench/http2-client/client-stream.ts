import type { HeaderFields } from "../../src/http2/header-fields.ts";
import type { RequestBody } from "./request-body.ts";

/** Takes a response. What it throws fails the call. */
export interface ResponseSink {
  /** Some of the body, `chunk` from `start` to `end`, which is overwritten once this has returned. */
  onData(chunk: Buffer, start: number, end: number): void;
}

/** A call on its way. */
export class ClientStream {
  readonly body: RequestBody;
  readonly sink: ResponseSink;
  readonly headerBlock: Buffer;
  readonly #expectedStatus: string;
  readonly #settled = Promise.withResolvers<void>();
  /** 0 until it is opened. */
  id = 0;
  /** What the peer still takes. */
  windowBytes = 0;
  isQueued = false;
  #last: HeaderFields | undefined;

  constructor(headerBlock: Buffer, body: RequestBody, sink: ResponseSink, expectedStatus: string) {
    this.headerBlock = headerBlock;
    this.body = body;
    this.sink = sink;
    this.#expectedStatus = expectedStatus;
  }

  /** Resolves when the response is complete. @throws where its status is another than the expected one. */
  get finished(): Promise<void> {
    return this.#settled.promise;
  }

  onHeaders(fields: HeaderFields): void {
    this.#last = fields;
  }

  /** The peer has said all that it had to say. */
  end(): void {
    const status = this.#last?.get("grpc-status");
    if (status === this.#expectedStatus) this.#settled.resolve();
    else this.fail(new Error(`grpc-status ${status ?? "missing"}: ${this.#last?.get("grpc-message") ?? ""}`));
  }

  fail(error: unknown): void {
    this.#settled.reject(error);
  }
}
