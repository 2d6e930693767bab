import type { HeaderFields } from "../../src/http2/header-fields.ts";
import type { RequestBody } from "./request-body.ts";

/** Takes a response. What it throws fails the call. */
export interface ResponseSink {
  /** Some of the body, `chunk` from `start` to `end`, which is overwritten once this has returned. */
  onData(chunk: Buffer, start: number, end: number): void;
}

/** A field of the last header block, such as `grpc-status`, and the value that says that all went well. */
export interface ExpectedField {
  readonly name: string;
  readonly value: string;
}

/** A call on its way. */
export class ClientStream {
  readonly body: RequestBody;
  readonly sink: ResponseSink;
  readonly headerBlock: Buffer;
  readonly #expected: ExpectedField;
  readonly #settled = Promise.withResolvers<void>();
  /** 0 until it is opened. */
  id = 0;
  /** What the peer still takes. */
  windowBytes = 0;
  isQueued = false;
  #last: HeaderFields | undefined;

  constructor(headerBlock: Buffer, body: RequestBody, sink: ResponseSink, expected: ExpectedField) {
    this.headerBlock = headerBlock;
    this.body = body;
    this.sink = sink;
    this.#expected = expected;
  }

  /** Resolves when the response is complete. @throws where the expected field is missing or has another value. */
  get finished(): Promise<void> {
    return this.#settled.promise;
  }

  onHeaders(fields: HeaderFields): void {
    this.#last = fields;
  }

  /** The peer has said all that it had to say. */
  end(): void {
    const { name, value } = this.#expected;
    const got = this.#last?.get(name);
    if (got === value) this.#settled.resolve();
    else this.fail(new Error(`${name} ${got ?? "missing"}: ${this.#last?.get("grpc-message") ?? ""}`));
  }

  fail(error: unknown): void {
    this.#settled.reject(error);
  }
}
