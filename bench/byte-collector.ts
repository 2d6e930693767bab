import type { ResponseSink } from "./http2-client/client-stream.ts";

/** Keeps a small response body. */
export class ByteCollector implements ResponseSink {
  #bytes: Buffer = Buffer.alloc(0);

  get bytes(): Buffer {
    return this.#bytes;
  }

  onData(chunk: Buffer, start: number, end: number): void {
    const part = chunk.subarray(start, end);
    this.#bytes = this.#bytes.length === 0 ? Buffer.from(part) : Buffer.concat([this.#bytes, part]);
  }
}
