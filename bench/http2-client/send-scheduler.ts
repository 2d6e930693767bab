import {
  FLAG,
  FRAME,
  FRAME_BYTES_MAX_DEFAULT,
  FRAME_HEADER_BYTES,
  WINDOW_BYTES_DEFAULT,
  writeFrameHeader,
} from "../../src/http2/frame-format.ts";
import type { OutputBuffer } from "../../src/http2/output-buffer.ts";
import type { ClientStream } from "./client-stream.ts";

/** Sends the bodies of a connection in turns, a frame at a time, as far as the peer's windows allow. */
export class SendScheduler {
  readonly #output: OutputBuffer;
  /** Streams with something to send and a window to send it in. */
  readonly #queue: ClientStream[] = [];
  #windowBytes = WINDOW_BYTES_DEFAULT;
  frameBytesMax = FRAME_BYTES_MAX_DEFAULT;

  constructor(output: OutputBuffer) {
    this.#output = output;
  }

  enqueue(stream: ClientStream): void {
    if (stream.isQueued || stream.body.done || stream.windowBytes <= 0) return;
    stream.isQueued = true;
    this.#queue.push(stream);
  }

  /** WINDOW_UPDATE of the connection. */
  widen(bytes: number): void {
    this.#windowBytes += bytes;
  }

  /** Fills the output up to about `bytesMax`. */
  run(bytesMax: number): void {
    while (this.#windowBytes > 0 && this.#output.bytes < bytesMax) {
      const stream = this.#queue.shift();
      if (stream === undefined) return;
      stream.isQueued = false;
      this.#sendFrame(stream);
      this.enqueue(stream);
    }
  }

  #sendFrame(stream: ClientStream): void {
    const { body } = stream;
    // An ended stream stays in the queue until its turn.
    if (stream.id === 0 || body.done) return;
    const left = body.messageBytesLeft;
    const bytes = Math.min(left, this.frameBytesMax, stream.windowBytes, this.#windowBytes);
    const flagsAt = this.#output.reserve(FRAME_HEADER_BYTES);
    const { slab } = this.#output;
    body.send(bytes, this.#output);
    writeFrameHeader(slab, flagsAt, bytes, FRAME.data, body.done ? FLAG.endStream : 0, stream.id);
    stream.windowBytes -= bytes;
    this.#windowBytes -= bytes;
  }
}
