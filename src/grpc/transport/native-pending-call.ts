import type { Caller } from "../../auth/caller.ts";
import type { Http2Stream, StreamListener } from "../../http2/http2-stream.ts";

export interface PendingCallOutcome {
  /** Each gives the stream its next listener. */
  start(caller: Caller): void;
  refuse(error: unknown): void;
}

/**
 * A call of which it is not known yet who makes it. What it sends meanwhile is kept, and the client gets no room for
 * more: so that is at most one window of a stream.
 */
export class PendingCall implements StreamListener {
  readonly #stream: Http2Stream;
  readonly #received: Buffer[] = [];
  #isComplete = false;
  #isAborted = false;

  constructor(stream: Http2Stream, admitted: Promise<Caller>, outcome: PendingCallOutcome) {
    this.#stream = stream;
    admitted.then(
      (caller) => this.#goOn(() => outcome.start(caller)),
      (error: unknown) => this.#goOn(() => outcome.refuse(error)),
    );
  }

  onData(chunk: Buffer, start: number, end: number): void {
    this.#received.push(Buffer.from(chunk.subarray(start, end)));
  }

  onChunkEnd(): void {}

  onEnd(): void {
    this.#isComplete = true;
  }

  onAborted(): void {
    this.#isAborted = true;
    this.#received.length = 0;
    this.#stream.settle();
  }

  onSent(): void {}

  onSendStalled(): void {}

  /** Tells the next listener what it has missed. */
  #goOn(setListener: () => void): void {
    if (this.#isAborted) return;
    setListener();
    const stream = this.#stream;
    const received = Buffer.concat(this.#received.splice(0));
    if (received.length > 0) stream.listener!.onData(received, 0, received.length);
    if (!stream.closed) stream.listener!.onChunkEnd();
    if (this.#isComplete && !stream.closed) stream.listener!.onEnd();
  }
}
