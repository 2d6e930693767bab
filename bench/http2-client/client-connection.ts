import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { ERROR_CODE } from "../../src/http2/error-code.ts";
import {
  FLAG,
  FRAME,
  FRAME_BYTES_MAX_DEFAULT,
  FRAME_HEADER_BYTES,
  PREFACE,
  readWord,
  readWord31,
  WINDOW_BYTES_DEFAULT,
  WINDOW_BYTES_LIMIT,
  writeFrameHeader,
  writeWord,
} from "../../src/http2/frame-format.ts";
import { FrameParser } from "../../src/http2/frame-parser.ts";
import { HeaderBlockAssembler } from "../../src/http2/header-block-assembler.ts";
import { HpackDecoder } from "../../src/http2/hpack/hpack-decoder.ts";
import { OutputBuffer } from "../../src/http2/output-buffer.ts";
import { encodeSettings, PeerSettings, SETTING } from "../../src/http2/settings.ts";
import { ClientStream, type ExpectedField, type ResponseSink } from "./client-stream.ts";
import { RequestBody, type MessageParts } from "./request-body.ts";
import { SendScheduler } from "./send-scheduler.ts";

/** All sockets of a thread read into this one: what was read is used up before the next socket is read. */
const RECEIVE_BUFFER = Buffer.allocUnsafeSlow(256 * 1024);
/** Handed to the socket at once. */
const WRITE_BYTES_MAX = 1024 * 1024;
/** No stream's window is ever replenished: responses have to be shorter than 2 GiB. The connection's is, by the half. */
const STREAM_WINDOW_BYTES = WINDOW_BYTES_LIMIT;
const CONNECTION_WINDOW_BYTES = 2 ** 30;
const HEADER_BYTES_MAX = 64 * 1024;
const HEADER_TABLE_BYTES = 4096;
const STREAMS_MAX_DEFAULT = 2 ** 31;

/**
 * The client's end of HTTP/2 over one TCP connection, for loads: as little as RFC 9113 allows. What is sent in one turn
 * of the event loop leaves in one write; what is received goes to the sinks from where the socket has put it.
 */
export class ClientConnection implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #output = new OutputBuffer();
  readonly #scheduler = new SendScheduler(this.#output);
  readonly #parser: FrameParser;
  readonly #hpack = new HpackDecoder({ tableBytesMax: HEADER_TABLE_BYTES, listBytesMax: HEADER_BYTES_MAX });
  readonly #headerBlocks = new HeaderBlockAssembler(HEADER_BYTES_MAX);
  readonly #settings = new PeerSettings();
  readonly #settled = Promise.withResolvers<void>();
  readonly #streams = new Map<number, ClientStream>();
  /** Calls over SETTINGS_MAX_CONCURRENT_STREAMS. */
  readonly #waiting: ClientStream[] = [];
  #streamsMax = STREAMS_MAX_DEFAULT;
  #nextStreamId = 1;
  #receivedBytes = 0;
  #isFlushing = false;
  #failure: Error | undefined;
  // The frame in hand.
  #dataStream: ClientStream | undefined;
  #endsStream = false;

  private constructor(host: string, port: number) {
    this.#parser = new FrameParser(
      {
        onDataStart: (streamId, flags, lengthBytes) => this.#onDataStart(streamId, flags, lengthBytes),
        onData: (chunk, start, end) => this.#onData(chunk, start, end),
        onDataEnd: () => this.#onDataEnd(),
        onFrame: (type, flags, streamId, bytes, start, end) => this.#onFrame(type, flags, streamId, bytes, start, end),
      },
      FRAME_BYTES_MAX_DEFAULT,
    );
    // The parser is a server's and expects one; servers send none.
    this.#parser.push(PREFACE);
    const callback = (bytes: number): boolean => this.#receive(bytes);
    this.#socket = connect({ host, port, noDelay: true, onread: { buffer: RECEIVE_BUFFER, callback } });
    // Without a reader there would be no end of the stream either.
    this.#socket.resume();
    this.#socket.on("drain", () => this.#flush());
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("close", () => this.#fail(new Error("the server has closed the connection")));
    this.#greet();
  }

  /** Resolves when the server's settings are known. @param endpoint `HOST:PORT` */
  static async open(endpoint: string): Promise<ClientConnection> {
    const colon = endpoint.lastIndexOf(":");
    const connection = new ClientConnection(endpoint.slice(0, colon), Number(endpoint.slice(colon + 1)));
    await connection.#settled.promise;
    return connection;
  }

  /** @throws where the call does not end with the expected field, or what the sink has thrown. */
  request(
    headerBlock: Buffer,
    messages: readonly MessageParts[],
    sink: ResponseSink,
    expected: ExpectedField,
  ): Promise<void> {
    const stream = new ClientStream(headerBlock, new RequestBody(messages), sink, expected);
    if (this.#failure !== undefined) stream.fail(this.#failure);
    else if (this.#streams.size >= this.#streamsMax) this.#waiting.push(stream);
    else this.#open(stream);
    return stream.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.destroyed) return;
    const closed = once(this.#socket, "close");
    this.#socket.end(() => this.#socket.destroy());
    await closed;
  }

  #greet(): void {
    const settings = encodeSettings([
      [SETTING.enablePush, 0],
      [SETTING.initialWindowSize, STREAM_WINDOW_BYTES],
    ]);
    this.#output.append(PREFACE, 0, PREFACE.length);
    this.#frame(FRAME.settings, 0, 0, settings);
    this.#replenish(CONNECTION_WINDOW_BYTES - WINDOW_BYTES_DEFAULT);
    this.#flushSoon();
  }

  #open(stream: ClientStream): void {
    stream.id = this.#nextStreamId;
    stream.windowBytes = this.#settings.initialWindowBytes;
    this.#nextStreamId += 2;
    this.#streams.set(stream.id, stream);
    const flags = stream.body.done ? FLAG.endHeaders | FLAG.endStream : FLAG.endHeaders;
    this.#frame(FRAME.headers, flags, stream.id, stream.headerBlock);
    this.#scheduler.enqueue(stream);
    this.#flushSoon();
  }

  /** After the stream's end, whichever. */
  #close(stream: ClientStream): void {
    this.#streams.delete(stream.id);
    if (!stream.body.done) {
      this.#word(FRAME.rstStream, stream.id, ERROR_CODE.cancel);
      this.#flushSoon();
    }
    stream.id = 0;
    const next = this.#streams.size < this.#streamsMax ? this.#waiting.shift() : undefined;
    if (next !== undefined) this.#open(next);
  }

  #receive(bytes: number): boolean {
    try {
      this.#parser.push(RECEIVE_BUFFER.subarray(0, bytes));
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
    return true;
  }

  #onDataStart(streamId: number, flags: number, lengthBytes: number): void {
    this.#dataStream = this.#streams.get(streamId);
    this.#endsStream = (flags & FLAG.endStream) !== 0;
    this.#receivedBytes += lengthBytes;
    if (this.#receivedBytes < CONNECTION_WINDOW_BYTES / 2) return;
    this.#replenish(this.#receivedBytes);
    this.#receivedBytes = 0;
    this.#flushSoon();
  }

  #onData(chunk: Buffer, start: number, end: number): void {
    const stream = this.#dataStream;
    if (stream === undefined) return;
    try {
      stream.sink.onData(chunk, start, end);
    } catch (error) {
      stream.fail(error);
      this.#dataStream = undefined;
      this.#close(stream);
    }
  }

  #onDataEnd(): void {
    if (this.#endsStream) this.#end(this.#dataStream);
  }

  #end(stream: ClientStream | undefined): void {
    if (stream === undefined) return;
    this.#close(stream);
    stream.end();
  }

  #onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (type === FRAME.headers) this.#onHeaders(flags, streamId, bytes, start, end);
    else if (type === FRAME.continuation) this.#onHeaderFragment(flags, bytes, start, end);
    else if (type === FRAME.windowUpdate) this.#onWindowUpdate(streamId, readWord31(bytes, start));
    else if (type === FRAME.settings) this.#onSettings(flags, bytes, start, end);
    else if (type === FRAME.rstStream) this.#onReset(streamId, readWord(bytes, start));
    else if (type === FRAME.ping && (flags & FLAG.ack) === 0) {
      this.#frame(FRAME.ping, FLAG.ack, 0, bytes.subarray(start, end));
      this.#flushSoon();
    } else if (type === FRAME.goaway) {
      const text = bytes.toString("latin1", start + 8, end);
      this.#fail(new Error(`GOAWAY with error code ${readWord(bytes, start + 4)} ${text}`));
    }
  }

  #onHeaders(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const paddingBytes = (flags & FLAG.padded) === 0 ? 0 : bytes.readUInt8(start) + 1;
    const at = start + Math.min(paddingBytes, 1) + ((flags & FLAG.priority) === 0 ? 0 : 5);
    this.#endsStream = (flags & FLAG.endStream) !== 0;
    this.#headerBlocks.begin(streamId);
    this.#onHeaderFragment(flags, bytes, at, paddingBytes === 0 ? end : end - paddingBytes + 1);
  }

  #onHeaderFragment(flags: number, bytes: Buffer, start: number, end: number): void {
    const { streamId } = this.#headerBlocks;
    this.#headerBlocks.add(bytes, start, end);
    if ((flags & FLAG.endHeaders) === 0) return;
    const block = this.#headerBlocks.take();
    // Also where nobody waits for it: the table has to stay in step.
    const fields = this.#hpack.decode(block, 0, block.length);
    const stream = this.#streams.get(streamId);
    if (fields !== undefined) stream?.onHeaders(fields);
    if (this.#endsStream) this.#end(stream);
  }

  #onWindowUpdate(streamId: number, bytes: number): void {
    const stream = this.#streams.get(streamId);
    if (streamId === 0) this.#scheduler.widen(bytes);
    else if (stream === undefined) return;
    else {
      stream.windowBytes += bytes;
      this.#scheduler.enqueue(stream);
    }
    this.#flushSoon();
  }

  #onSettings(flags: number, bytes: Buffer, start: number, end: number): void {
    if ((flags & FLAG.ack) !== 0) return;
    const windowBefore = this.#settings.initialWindowBytes;
    this.#settings.apply(bytes, start, end);
    this.#scheduler.frameBytesMax = this.#settings.frameBytesMax;
    for (let at = start; at < end; at += 6) {
      if (bytes.readUInt16BE(at) === SETTING.maxConcurrentStreams) this.#streamsMax = readWord(bytes, at + 2);
    }
    for (const stream of this.#streams.values()) {
      stream.windowBytes += this.#settings.initialWindowBytes - windowBefore;
      this.#scheduler.enqueue(stream);
    }
    this.#frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(0));
    this.#flushSoon();
    this.#settled.resolve();
  }

  #onReset(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.fail(new Error(`the server has reset the stream with error code ${code}`));
    this.#close(stream);
  }

  #replenish(bytes: number): void {
    this.#word(FRAME.windowUpdate, 0, bytes);
  }

  #word(type: number, streamId: number, value: number): void {
    const payload = Buffer.alloc(4);
    writeWord(payload, 0, value);
    this.#frame(type, 0, streamId, payload);
  }

  #frame(type: number, flags: number, streamId: number, payload: Buffer): void {
    const at = this.#output.reserve(FRAME_HEADER_BYTES);
    writeFrameHeader(this.#output.slab, at, payload.length, type, flags, streamId);
    this.#output.append(payload, 0, payload.length);
  }

  /** Once for all calls that are made in one turn. */
  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      this.#flush();
    });
  }

  /** Does nothing while the socket has enough; 'drain' comes back here. */
  #flush(): void {
    if (this.#socket.writableNeedDrain || this.#socket.destroyed) return;
    this.#scheduler.run(WRITE_BYTES_MAX);
    const pieces = this.#output.take();
    if (pieces.length === 0) return;
    this.#socket.cork();
    for (const piece of pieces) this.#socket.write(piece);
    this.#socket.uncork();
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#settled.reject(error);
    for (const stream of [...this.#streams.values(), ...this.#waiting.splice(0)]) stream.fail(error);
    this.#streams.clear();
    this.#socket.destroy();
  }
}
