import type { ResponseSink } from "./http2-client/client-stream.ts";

/** Keeps a response body. */
export class ByteCollector implements ResponseSink {
  readonly #parts: Buffer[] = [];

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  onData(chunk: Buffer, start: number, end: number): void {
    this.#parts.push(Buffer.from(chunk.subarray(start, end)));
  }
}
