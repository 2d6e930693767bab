/** An HTTP/2 client of bare frames, for what no well-behaved client sends. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { vi } from "vitest";
import { FLAG, FRAME, FRAME_HEADER_BYTES, PREFACE } from "../../src/http2/frame-format.ts";
import { HpackDecoder } from "../../src/http2/hpack/hpack-decoder.ts";
import { rawFrame } from "./raw-frames.ts";

export interface ReceivedFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

const WAIT = { timeout: 20_000, interval: 2 };

export class RawHttp2Client {
  readonly socket: Socket;
  readonly frames: ReceivedFrame[] = [];
  readonly #decoder = new HpackDecoder({ tableBytesMax: 4096, listBytesMax: 65_536 });
  #pending: Buffer = Buffer.alloc(0);
  isClosed = false;

  /** Sends the preface and these settings. */
  static async open(port: number, settings: Buffer = Buffer.alloc(0)): Promise<RawHttp2Client> {
    const client = await RawHttp2Client.connect(port);
    client.send(PREFACE, rawFrame(FRAME.settings, 0, 0, settings));
    return client;
  }

  /** The same over a socket that is connected already. */
  static over(socket: Socket): RawHttp2Client {
    const client = new RawHttp2Client(socket);
    client.send(PREFACE, rawFrame(FRAME.settings, 0, 0));
    return client;
  }

  /** Sends nothing. */
  static async connect(port: number): Promise<RawHttp2Client> {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return new RawHttp2Client(socket);
  }

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => (this.isClosed = true));
    socket.on("data", (chunk) => this.#parse(chunk));
  }

  send(...frames: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** The first frame for which this holds; waits for it. */
  async frame(matches: (frame: ReceivedFrame) => boolean): Promise<ReceivedFrame> {
    return await vi.waitFor(() => {
      const frame = this.frames.find(matches);
      if (frame === undefined) throw new Error(`expected a frame, got ${this.describe()}`);
      return frame;
    }, WAIT);
  }

  async reset(streamId: number): Promise<number> {
    const frame = await this.frame((each) => each.type === FRAME.rstStream && each.streamId === streamId);
    return frame.payload.readUInt32BE();
  }

  /** The code of the GOAWAY that ends the connection, once the socket is closed. */
  async connectionError(): Promise<number> {
    const goaway = await this.frame((frame) => frame.type === FRAME.goaway && frame.payload.readUInt32BE(4) !== 0);
    await this.closed();
    return goaway.payload.readUInt32BE(4);
  }

  async closed(): Promise<void> {
    await vi.waitFor(() => {
      if (!this.isClosed) throw new Error(`expected the end of the connection, got ${this.describe()}`);
    }, WAIT);
  }

  /** Shows that the connection still works: a PING is answered. */
  async roundTrip(): Promise<void> {
    const mark = Buffer.from(`ping${String(this.frames.length).padStart(4, "0")}`);
    this.send(rawFrame(FRAME.ping, 0, 0, mark));
    await this.frame((frame) => frame.type === FRAME.ping && frame.flags === FLAG.ack && frame.payload.equals(mark));
  }

  /** Header fields of the stream's response, trailers included, once it has ended. */
  async response(streamId: number): Promise<{ fields: Record<string, string>; body: Buffer }> {
    const ofStream = (frame: ReceivedFrame): boolean =>
      frame.streamId === streamId && (frame.type === FRAME.headers || frame.type === FRAME.data);
    await this.frame((frame) => ofStream(frame) && (frame.flags & FLAG.endStream) !== 0);
    const frames = this.frames.filter(ofStream);
    const fields: Record<string, string> = {};
    for (const { type, payload } of frames) {
      if (type !== FRAME.headers) continue;
      const flat = this.#decoder.decode(payload, 0, payload.length)?.flat ?? [];
      for (let index = 0; index < flat.length; index += 2) fields[flat[index]!] = flat[index + 1]!;
    }
    const data = frames.filter(({ type }) => type === FRAME.data).map(({ payload }) => payload);
    return { fields, body: Buffer.concat(data) };
  }

  /** The last frames, for messages of failed expectations. */
  describe(): string {
    return this.frames
      .slice(-20)
      .map(({ type, flags, streamId, payload }) => `${type}/${flags}/${streamId}/${payload.length}`)
      .join();
  }

  #parse(chunk: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= FRAME_HEADER_BYTES) {
      const end = FRAME_HEADER_BYTES + this.#pending.readUIntBE(0, 3);
      if (this.#pending.length < end) return;
      this.frames.push({
        type: this.#pending[3]!,
        flags: this.#pending[4]!,
        streamId: this.#pending.readUInt32BE(5),
        payload: Buffer.from(this.#pending.subarray(FRAME_HEADER_BYTES, end)),
      });
      this.#pending = this.#pending.subarray(end);
    }
  }
}
