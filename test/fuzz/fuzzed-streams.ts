import { encodeHeaderBlock } from "../../src/http2/hpack/encode-header-block.ts";
import type { AbortReason, Http2Stream, StreamListener } from "../../src/http2/http2-stream.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { check } from "./fuzz-target.ts";

const RESPONSE = encodeHeaderBlock([[":status", "200"]]);
const LONG_TRAILERS = encodeHeaderBlock([["x-long", "~".repeat(20_000)]]);
const TRAILERS = encodeHeaderBlock([["x-end", "yes"]]);
export const RESPONSE_BYTES_MAX = 60_000;

/** What became of a request whose body arrived completely. */
export interface CompleteRequest {
  readonly streamId: number;
  readonly body: Buffer;
}

/** Answers requests in whatever way chance says, and checks what it is told by its connection. */
export class FuzzedStreams {
  readonly complete: CompleteRequest[] = [];
  readonly #random: SeededRandom;
  /** Put off until {@link tick}. */
  #later: (() => void)[] = [];
  #unconsumedBytes = 0;
  /** What was found wrong where nothing can be thrown through the connection. */
  violation: string | undefined;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  get unconsumedBytes(): number {
    return this.#unconsumedBytes;
  }

  onRequest(stream: Http2Stream): void {
    const listener = new FuzzedListener(stream, this.#random, {
      received: (bytes) => (this.#unconsumedBytes += bytes),
      consumed: (bytes) => (this.#unconsumedBytes -= bytes),
      later: (action) => void this.#later.push(action),
      complete: (body) => void this.complete.push({ streamId: stream.id, body }),
      violated: (what) => (this.violation ??= `stream ${stream.id}: ${what}`),
    });
    stream.listener = listener;
    listener.start();
  }

  /** Does some of what was put off, or all of it. */
  tick(all = false): void {
    const due = this.#later;
    this.#later = [];
    for (const action of due) {
      if (all || this.#random.fraction() < 0.5) action();
      else this.#later.push(action);
    }
    check(this.violation === undefined, () => this.violation ?? "");
  }

  get isIdle(): boolean {
    return this.#later.length === 0;
  }
}

interface Surroundings {
  received(bytes: number): void;
  consumed(bytes: number): void;
  later(action: () => void): void;
  complete(body: Buffer): void;
  violated(what: string): void;
}

class FuzzedListener implements StreamListener {
  readonly #stream: Http2Stream;
  readonly #random: SeededRandom;
  readonly #around: Surroundings;
  readonly #body: Buffer[] = [];
  #state: "open" | "complete" | "aborted" = "open";
  #isAnswered = false;
  #isSettled = false;
  #unconsumedBytes = 0;
  #borrowed: { chunk: Buffer; start: number; end: number }[] = [];

  constructor(stream: Http2Stream, random: SeededRandom, around: Surroundings) {
    this.#stream = stream;
    this.#random = random;
    this.#around = around;
  }

  start(): void {
    if (this.#random.fraction() < 0.1) this.#answer();
  }

  onData(chunk: Buffer, start: number, end: number): void {
    if (this.#state !== "open") this.#around.violated(`data after it was ${this.#state}`);
    this.#unconsumedBytes += end - start;
    this.#around.received(end - start);
    // Read in place at the end of the chunk at the latest, as a listener may.
    if (this.#random.fraction() < 0.5) {
      if (this.#borrowed.length === 0) this.#stream.awaitChunkEnd();
      this.#borrowed.push({ chunk, start, end });
    } else {
      this.#keepBorrowed();
      this.#body.push(Buffer.from(chunk.subarray(start, end)));
    }
    if (this.#random.fraction() < 0.7) this.#consume();
    else this.#around.later(() => this.#consume());
  }

  onChunkEnd(): void {
    this.#keepBorrowed();
  }

  onEnd(): void {
    if (this.#state !== "open") this.#around.violated(`ended after it was ${this.#state}`);
    this.#state = "complete";
    this.#keepBorrowed();
    this.#around.complete(Buffer.concat(this.#body));
    if (this.#random.fraction() < 0.5) this.#answer();
    else this.#around.later(() => this.#answer());
  }

  onAborted(_reason: AbortReason): void {
    if (this.#state === "aborted") this.#around.violated("aborted twice");
    this.#state = "aborted";
    this.#borrowed = [];
    this.#consume();
    this.#settleLater();
  }

  onSent(): void {
    if (this.#state === "aborted") this.#around.violated("told of progress after it was aborted");
  }

  onSendStalled(): void {
    this.#around.violated("stalled within a case");
  }

  #keepBorrowed(): void {
    for (const { chunk, start, end } of this.#borrowed) this.#body.push(Buffer.from(chunk.subarray(start, end)));
    this.#borrowed = [];
  }

  #consume(): void {
    this.#around.consumed(this.#unconsumedBytes);
    this.#stream.consume(this.#unconsumedBytes);
    this.#unconsumedBytes = 0;
  }

  #answer(): void {
    if (this.#isAnswered) return;
    this.#isAnswered = true;
    const random = this.#random;
    if (random.fraction() < 0.1) {
      this.#stream.reset(random.int(0, 13));
    } else {
      this.#stream.respond(RESPONSE);
      const bytes = random.fraction() < 0.2 ? random.int(0, RESPONSE_BYTES_MAX) : random.int(0, 100);
      for (let left = bytes; left > 0;) {
        const piece = random.int(1, left);
        this.#stream.write(Buffer.alloc(piece, "r"));
        left -= piece;
      }
      if (random.fraction() < 0.1) this.#stream.dropUnsent();
      this.#stream.end(random.int(0, 3) === 0 ? undefined : random.pick([TRAILERS, TRAILERS, LONG_TRAILERS]));
    }
    this.#settleLater();
  }

  #settleLater(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    if (this.#random.fraction() < 0.8) this.#stream.settle();
    else this.#around.later(() => this.#stream.settle());
  }
}
