import { encodeHeaderBlock } from "../../http2/hpack/encode-header-block.ts";
import type { Http2Stream, StreamListener } from "../../http2/http2-stream.ts";

/** Answers a request that is not run. The answer waits for the end of the request, as some clients do not look before. */
export class Refusal implements StreamListener {
  readonly #stream: Http2Stream;
  readonly #answer: (stream: Http2Stream) => void;
  #bytesLeft = DISCARDED_BYTES_MAX;

  constructor(stream: Http2Stream, answer: (stream: Http2Stream) => void) {
    this.#stream = stream;
    this.#answer = answer;
    stream.settle();
  }

  onData(_chunk: Buffer, start: number, end: number): void {
    this.#stream.consume(end - start);
    this.#bytesLeft -= end - start;
    if (this.#bytesLeft < 0) this.#answer(this.#stream);
  }

  onChunkEnd(): void {}

  onEnd(): void {
    this.#answer(this.#stream);
  }

  onAborted(): void {}

  onSent(): void {}

  onSendStalled(): void {
    this.#stream.reset(CANCEL);
  }
}

const CANCEL = 8;
/** Who sends more than this gets the answer at once. */
const DISCARDED_BYTES_MAX = 64 * 1024;

/** A plain HTTP answer for what is no gRPC call. */
export function httpAnswer(status: number, message: string): (stream: Http2Stream) => void {
  const body = Buffer.from(`${message}\n`);
  const block = encodeHeaderBlock([
    [":status", String(status)],
    ["content-type", "text/plain; charset=utf-8"],
    ["content-length", String(body.length)],
    ...(status === 405 ? [["allow", "POST"] as const] : []),
  ]);
  return (stream) => {
    stream.respond(block);
    stream.write(body);
    stream.end();
  };
}
