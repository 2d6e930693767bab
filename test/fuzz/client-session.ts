import { FLAG, FRAME, PREFACE } from "../../src/http2/frame-format.ts";
import { SETTING } from "../../src/http2/settings.ts";
import { rawFrame, setting, word } from "../http2/raw-frames.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { HeaderBlockWriter } from "./header-block-writer.ts";

export interface SessionOptions {
  readonly frameCountMax: number;
  /** Of one DATA frame. */
  readonly dataBytesMax: number;
  readonly paths: readonly string[];
  /** What it lets the server send on each stream, and on the connection: any of them. */
  readonly windowsBytes: readonly number[];
  /** What a request sends besides method, scheme, path and authority. */
  readonly extraFields: (random: SeededRandom) => readonly (readonly [string, string])[];
  /** The next bytes of a request's body. */
  readonly body: (random: SeededRandom) => Buffer;
}

interface OpenRequest {
  readonly streamId: number;
  readonly sent: Buffer[];
}

/** What a client that keeps to the rules sends, frame by frame; flow control is its reader's affair. */
export class ClientSession {
  readonly frames: Buffer[] = [];
  /** Bodies that were sent completely, by stream. */
  readonly bodies = new Map<number, Buffer>();
  readonly #random: SeededRandom;
  readonly #options: SessionOptions;
  readonly #writer: HeaderBlockWriter;
  readonly #open: OpenRequest[] = [];
  #nextStreamId = 1;

  constructor(random: SeededRandom, options: SessionOptions) {
    this.#random = random;
    this.#options = options;
    this.#writer = new HeaderBlockWriter(random, 4096);
    const windowBytes = setting(SETTING.initialWindowSize, random.pick(options.windowsBytes));
    this.frames.push(PREFACE, rawFrame(FRAME.settings, 0, 0, Buffer.concat([windowBytes, this.#settings()])));
    this.frames.push(rawFrame(FRAME.windowUpdate, 0, 0, word(random.pick(options.windowsBytes) + 1)));
    for (let count = random.int(1, options.frameCountMax); count > 0; count--) this.#step();
    while (this.#open.length > 0 && random.fraction() < 0.8) this.#data(true);
  }

  /** Requests that were begun and not ended. */
  get incompleteCount(): number {
    return this.#open.length;
  }

  #step(): void {
    const random = this.#random;
    const kind = random.int(0, 19);
    if (kind < 6 || this.#open.length === 0) this.#request();
    else if (kind < 13) this.#data(this.#random.fraction() < 0.3);
    else if (kind === 13) this.#trailers();
    else if (kind === 14) this.#reset();
    else this.frames.push(this.#controlFrame(kind));
  }

  #controlFrame(kind: number): Buffer {
    const random = this.#random;
    const streamId = this.#pickOpen().streamId;
    if (kind === 15) return rawFrame(FRAME.windowUpdate, 0, random.int(0, 1) * streamId, word(random.int(1, 100_000)));
    if (kind === 16) return rawFrame(FRAME.ping, random.int(0, 1), 0, random.bytes(8));
    if (kind === 17) return rawFrame(FRAME.settings, 0, 0, this.#settings());
    if (kind === 18) return rawFrame(FRAME.priority, 0, streamId, Buffer.from([0, 0, 0, 0, random.int(0, 255)]));
    return rawFrame(
      random.int(10, 255),
      random.int(0, 255),
      random.int(0, 1) * streamId,
      random.bytes(random.int(0, 30)),
    );
  }

  #settings(): Buffer {
    const random = this.#random;
    const values: readonly (readonly [number, number])[] = [
      [SETTING.initialWindowSize, random.pick(this.#options.windowsBytes)],
      [SETTING.maxFrameSize, random.pick([16_384, 16_385, 100_000])],
      [SETTING.maxConcurrentStreams, random.int(0, 100)],
      [SETTING.enablePush, random.int(0, 1)],
      [random.int(7, 65_535), random.int(0, 2 ** 31)],
    ];
    return Buffer.concat(
      values
        .filter(() => random.int(0, 1) === 1)
        .map(([name, value]) => {
          const entry = setting(0, value);
          entry.writeUInt16BE(name);
          return entry;
        }),
    );
  }

  #request(): void {
    const random = this.#random;
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2 * random.int(1, 3);
    const block = this.#writer.block([
      [":method", "POST"],
      [":scheme", "http"],
      [":path", random.pick(this.#options.paths)],
      [":authority", "localhost"],
      ...this.#options.extraFields(this.#random),
    ]);
    const endStream = random.fraction() < 0.2;
    this.#headers(streamId, block, endStream);
    if (endStream) this.bodies.set(streamId, Buffer.alloc(0));
    else this.#open.push({ streamId, sent: [] });
  }

  /** HEADERS, padded or with a priority now and then, and CONTINUATIONs. */
  #headers(streamId: number, block: Buffer, endStream: boolean): void {
    const random = this.#random;
    const cuts =
      random.fraction() < 0.2
        ? [random.int(0, block.length), random.int(0, block.length)].toSorted((a, b) => a - b)
        : [];
    const fragments = [0, ...cuts].map((start, index) => block.subarray(start, cuts[index] ?? block.length));
    const padding = random.fraction() < 0.2 ? random.int(0, 20) : undefined;
    const parts = [fragments[0]!];
    let flags = endStream ? FLAG.endStream : 0;
    if (random.fraction() < 0.2) {
      parts.unshift(Buffer.concat([word(0), Buffer.from([16])]));
      flags |= FLAG.priority;
    }
    if (padding !== undefined) {
      parts.unshift(Buffer.from([padding]));
      parts.push(Buffer.alloc(padding));
      flags |= FLAG.padded;
    }
    for (const [index, fragment] of fragments.entries()) {
      const isLast = index === fragments.length - 1;
      const endFlag = isLast ? FLAG.endHeaders : 0;
      if (index === 0) this.frames.push(rawFrame(FRAME.headers, flags | endFlag, streamId, Buffer.concat(parts)));
      else this.frames.push(rawFrame(FRAME.continuation, endFlag, streamId, fragment));
    }
  }

  #data(isLast: boolean): void {
    const random = this.#random;
    const request = this.#pickOpen();
    const body = this.#options.body(this.#random);
    for (let at = 0; at < body.length || at === 0;) {
      const end = Math.min(body.length, at + random.int(1, this.#options.dataBytesMax));
      const data = body.subarray(at, end);
      const padding = random.fraction() < 0.1 ? random.int(0, 50) : undefined;
      const payload =
        padding === undefined ? data : Buffer.concat([Buffer.from([padding]), data, Buffer.alloc(padding)]);
      const endFlag = isLast && end === body.length ? FLAG.endStream : 0;
      const paddedFlag = padding === undefined ? 0 : FLAG.padded;
      this.frames.push(rawFrame(FRAME.data, endFlag | paddedFlag, request.streamId, payload));
      at = Math.max(end, 1);
    }
    request.sent.push(body);
    if (isLast) this.#finish(request);
  }

  #trailers(): void {
    const request = this.#pickOpen();
    this.#headers(request.streamId, this.#writer.block([["x-trailer", "1"]]), true);
    this.#finish(request);
  }

  #reset(): void {
    const request = this.#pickOpen();
    this.frames.push(rawFrame(FRAME.rstStream, 0, request.streamId, word(this.#random.int(0, 13))));
    this.#remove(request);
  }

  #finish(request: OpenRequest): void {
    this.bodies.set(request.streamId, Buffer.concat(request.sent));
    this.#remove(request);
  }

  #remove(request: OpenRequest): void {
    this.#open.splice(this.#open.indexOf(request), 1);
  }

  #pickOpen(): OpenRequest {
    return this.#random.pick(this.#open);
  }
}
