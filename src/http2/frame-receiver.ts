import type { ConnectionOptions } from "./connection-options.ts";
import type { ConnectionSender } from "./connection-sender.ts";
import { ConnectionError, ERROR_CODE } from "./error-code.ts";
import { type FloodGuard, TINY_DATA_BYTES_MAX } from "./flood-guard.ts";
import { FLAG, FRAME, PING_BYTES, PRIORITY_BYTES, readWord31 } from "./frame-format.ts";
import type { FrameSink } from "./frame-parser.ts";
import { HeaderReceiver } from "./header-receiver.ts";
import type { AbortReason, Http2Stream } from "./http2-stream.ts";
import type { ReceiveWindow } from "./receive-window.ts";
import type { PeerSettings } from "./settings.ts";
import type { StreamTable } from "./stream-table.ts";

/** The parts of a connection that frames act on. */
export interface ReceiverParts {
  readonly options: ConnectionOptions;
  readonly streams: StreamTable;
  readonly sender: ConnectionSender;
  readonly peerSettings: PeerSettings;
  readonly guard: FloodGuard;
  readonly window: ReceiveWindow;
  readonly host: ReceiverHost;
}

export interface ReceiverHost {
  /** A request is there; its listener has to be set on the stream. */
  onRequest(stream: Http2Stream): void;
  /** Whether streams with this id are still taken. */
  takes(streamId: number): boolean;
  makeStream(streamId: number, headers: Http2Stream["headers"]): Http2Stream;
  consume(stream: Http2Stream, bytes: number): void;
  /** Connection window only: bytes that no stream will consume. */
  consumeUnclaimed(bytes: number): void;
  abort(stream: Http2Stream, reason: AbortReason): void;
  onPong(bytes: Buffer, start: number): void;
  onPeerGoaway(): void;
}

/** DATA frames from this size on are work, in proportion to which small frames are honest. */
const USEFUL_DATA_BYTES_MIN = 1024;
const WORD_BYTES = 4;
/** A SETTINGS frame goes through all streams. */
const SETTINGS_COST = 10;

/** What each frame means (RFC 9113, section 6). Breaches of the connection's rules are thrown as `ConnectionError`. */
export class FrameReceiver implements FrameSink {
  readonly #parts: ReceiverParts;
  readonly #headers: HeaderReceiver;
  #settingsSeen = false;
  /** Of the DATA frame in hand; undefined: its bytes are discarded. */
  #dataStream: Http2Stream | undefined;
  #dataEndsStream = false;

  constructor(parts: ReceiverParts) {
    this.#parts = parts;
    this.#headers = new HeaderReceiver(parts);
  }

  onDataStart(streamId: number, flags: number, lengthBytes: number, paddingBytes: number): void {
    const { streams, window, host } = this.#parts;
    if (streamId === 0 || !this.#settingsSeen || this.#headers.isIncomplete) throw unexpected("DATA", streamId);
    if (!window.receive(lengthBytes)) throw new ConnectionError(ERROR_CODE.flowControlError, "DATA: window exceeded");
    this.#dataEndsStream = (flags & FLAG.endStream) !== 0;
    this.#noteDataSize(lengthBytes - paddingBytes);
    const stream = streams.get(streamId);
    this.#dataStream = stream;
    if (stream === undefined || stream.remoteClosed) return this.#discardData(streamId, stream, lengthBytes);
    stream.unconsumedBytes += lengthBytes;
    if (!stream.receiveWindow.receive(lengthBytes)) return this.#failData(stream, ERROR_CODE.flowControlError);
    if (stream.expectedBytes >= 0) {
      stream.expectedBytes -= lengthBytes - paddingBytes;
      if (stream.expectedBytes < 0) return this.#failData(stream, ERROR_CODE.protocolError);
    }
    if (paddingBytes > 0) host.consume(stream, paddingBytes);
  }

  /** Whether somebody gets the data of the frame in hand. */
  get isTakingData(): boolean {
    return this.#dataStream?.closed === false;
  }

  onData(chunk: Buffer, start: number, end: number): void {
    const stream = this.#dataStream;
    // The listener may have ended the stream in the middle of the frame.
    if (stream !== undefined && !stream.closed) stream.listener!.onData(chunk, start, end);
  }

  onDataEnd(): void {
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    if (this.#dataEndsStream && stream !== undefined && !stream.closed) this.#headers.endRequest(stream);
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (this.#headers.isIncomplete && type !== FRAME.continuation)
      throw unexpected("frame in a header block", streamId);
    if (!this.#settingsSeen && type !== FRAME.settings) throw unexpected("frame before SETTINGS", streamId);
    switch (type) {
      case FRAME.headers:
        return this.#headers.onHeaders(flags, streamId, bytes, start, end);
      case FRAME.continuation:
        return this.#headers.onContinuation(flags, streamId, bytes, start, end);
      case FRAME.windowUpdate:
        return this.#onWindowUpdate(streamId, bytes, start, end);
      case FRAME.rstStream:
        return this.#onReset(streamId, start, end);
      case FRAME.settings:
        return this.#onSettings(flags, streamId, bytes, start, end);
      case FRAME.ping:
        return this.#onPing(flags, streamId, bytes, start, end);
      case FRAME.priority:
        return this.#onPriority(streamId, bytes, start, end);
      case FRAME.goaway:
        return this.#onGoaway(streamId, start, end);
      case FRAME.pushPromise:
        throw unexpected("PUSH_PROMISE", streamId);
      default:
        // Unknown types are ignored (section 5.5).
        this.#parts.guard.spend("control");
    }
  }

  #noteDataSize(dataBytes: number): void {
    const { guard } = this.#parts;
    if (dataBytes <= TINY_DATA_BYTES_MAX) {
      if (!this.#dataEndsStream) guard.spend("tinyData");
    } else if (dataBytes >= USEFUL_DATA_BYTES_MIN) {
      guard.credit("tinyData", 1);
      guard.credit("control", 1);
    }
  }

  #failData(stream: Http2Stream, code: number): void {
    this.#dataStream = undefined;
    this.#headers.failStream(stream.id, code);
  }

  #discardData(streamId: number, stream: Http2Stream | undefined, lengthBytes: number): void {
    const { streams, host } = this.#parts;
    this.#dataStream = undefined;
    if (this.#isIdle(streamId)) throw unexpected("DATA", streamId);
    host.consumeUnclaimed(lengthBytes);
    // What crosses our reset on the way is no fault.
    if (stream === undefined && streams.closedState(streamId) === "reset") return;
    this.#headers.failStream(streamId, ERROR_CODE.streamClosed);
  }

  #isIdle(streamId: number): boolean {
    return streamId > this.#parts.streams.lastStreamId || streamId % 2 === 0;
  }

  #onWindowUpdate(streamId: number, bytes: Buffer, start: number, end: number): void {
    const { sender, streams, guard } = this.#parts;
    if (end - start !== WORD_BYTES) throw wrongSize("WINDOW_UPDATE", end - start);
    guard.spend("windowUpdate");
    const increment = readWord31(bytes, start);
    if (streamId === 0) {
      if (increment === 0) throw unexpected("WINDOW_UPDATE by 0", 0);
      if (!sender.grow(increment)) throw new ConnectionError(ERROR_CODE.flowControlError, "WINDOW_UPDATE: too large");
      return;
    }
    if (this.#isIdle(streamId)) throw unexpected("WINDOW_UPDATE", streamId);
    const stream = streams.get(streamId);
    if (stream === undefined) return;
    if (increment === 0) this.#headers.failStream(streamId, ERROR_CODE.protocolError);
    else if (!sender.growStream(stream, increment)) this.#headers.failStream(streamId, ERROR_CODE.flowControlError);
  }

  #onReset(streamId: number, start: number, end: number): void {
    const { streams, host } = this.#parts;
    if (end - start !== WORD_BYTES) throw wrongSize("RST_STREAM", end - start);
    if (streamId === 0 || this.#isIdle(streamId)) throw unexpected("RST_STREAM", streamId);
    this.#headers.spendReset(streamId);
    const stream = streams.get(streamId);
    if (stream !== undefined) host.abort(stream, "reset");
  }

  #onSettings(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const { sender, streams, guard, peerSettings } = this.#parts;
    if (streamId !== 0) throw unexpected("SETTINGS", streamId);
    guard.spend("control", SETTINGS_COST);
    if ((flags & FLAG.ack) !== 0) {
      if (end > start) throw wrongSize("SETTINGS acknowledgement", end - start);
      if (!this.#settingsSeen) throw unexpected("acknowledgement before SETTINGS", streamId);
      return;
    }
    this.#settingsSeen = true;
    const { initialWindowBytes } = peerSettings;
    peerSettings.apply(bytes, start, end);
    sender.settingsAck();
    const change = peerSettings.initialWindowBytes - initialWindowBytes;
    if (change === 0) return;
    for (const stream of streams.streams()) {
      if (!sender.growStream(stream, change)) {
        throw new ConnectionError(ERROR_CODE.flowControlError, "SETTINGS_INITIAL_WINDOW_SIZE: a window is too large");
      }
    }
  }

  #onPing(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const { sender, guard, host } = this.#parts;
    if (streamId !== 0) throw unexpected("PING", streamId);
    if (end - start !== PING_BYTES) throw wrongSize("PING", end - start);
    guard.spend("control");
    if ((flags & FLAG.ack) !== 0) host.onPong(bytes, start);
    else sender.ping(bytes, start, true);
  }

  /** Priorities are deprecated and ignored, but for their form. */
  #onPriority(streamId: number, bytes: Buffer, start: number, end: number): void {
    if (streamId === 0) throw unexpected("PRIORITY", streamId);
    this.#parts.guard.spend("control");
    if (end - start !== PRIORITY_BYTES) this.#headers.failStream(streamId, ERROR_CODE.frameSizeError);
    else if (readWord31(bytes, start) === streamId) this.#headers.failStream(streamId, ERROR_CODE.protocolError);
  }

  #onGoaway(streamId: number, start: number, end: number): void {
    if (streamId !== 0) throw unexpected("GOAWAY", streamId);
    if (end - start < 2 * WORD_BYTES) throw wrongSize("GOAWAY", end - start);
    this.#parts.guard.spend("control");
    this.#parts.host.onPeerGoaway();
  }
}

function unexpected(what: string, streamId: number): ConnectionError {
  return new ConnectionError(ERROR_CODE.protocolError, `${what}: unexpected on stream ${streamId}`);
}

function wrongSize(frame: string, bytes: number): ConnectionError {
  return new ConnectionError(ERROR_CODE.frameSizeError, `${frame}: ${bytes} bytes`);
}
