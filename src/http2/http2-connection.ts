import type { Socket } from "node:net";
import type { ConnectionOptions } from "./connection-options.ts";
import { ConnectionSender, type SenderEvents } from "./connection-sender.ts";
import { ConnectionError, ERROR_CODE } from "./error-code.ts";
import { FloodGuard } from "./flood-guard.ts";
import { PING_BYTES, STREAM_ID_MAX, WINDOW_BYTES_DEFAULT } from "./frame-format.ts";
import { FrameParser } from "./frame-parser.ts";
import { FrameReceiver, type ReceiverHost } from "./frame-receiver.ts";
import type { HeaderFields } from "./header-fields.ts";
import { type AbortReason, Http2Stream, type StreamHost } from "./http2-stream.ts";
import { Keepalive } from "./keepalive.ts";
import { ReceivingSocket } from "./receiving-socket.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { resetSocket } from "./reset-socket.ts";
import { encodeSettings, PeerSettings, SETTING } from "./settings.ts";
import { StreamTable } from "./stream-table.ts";

export interface ConnectionListener {
  /** A request has begun: sets `stream.listener` before it returns. */
  onRequest(stream: Http2Stream): void;
  /** The socket is closed, every stream ended. */
  onClosed(): void;
  /** A bug: something that is no `ConnectionError` was thrown while frames were handled. The connection ends. */
  onFault(cause: unknown): void;
}

/** What a connection holds now. */
export interface ConnectionFigures {
  readonly openStreams: number;
  /** Those, and those that are closed while their listeners still work. */
  readonly busyStreams: number;
  /** DATA that waits in streams. */
  readonly queuedBytes: number;
  /** Frames that have left their streams and that the socket has not taken. */
  readonly unsentBytes: number;
  /** What may be received and not consumed. */
  readonly windowBytes: number;
}

/** Between our last word and the destruction of the socket: time for the client to read it (HAZARDS H15: a second). */
const LAST_WORD_MS = 500;
/** The same after a drain, where the end of responses may still be on its way. */
const DRAINED_MS = 10_000;
/** Longest wait for the answer to the PING between the two GOAWAYs of a drain. */
const DRAIN_PING_MS = 1000;
/** Clients give their windows back for the stream and the connection, some of them more often than once a frame. */
const UPDATES_PER_DATA_FRAME = 4;
const AGE_SPREAD = 0.1;
const KEEPALIVE_PING = Buffer.from("keepaliv", "latin1");
const DRAIN_PING = Buffer.from("draining", "latin1");

/**
 * The server's end of one HTTP/2 connection (RFC 9113). It takes over a socket whose preface is still unread.
 *
 *     socket ─► FrameParser ─► FrameReceiver ─► Http2Stream ─► its StreamListener
 *        ▲                       (HeaderReceiver: HPACK)            │
 *        └────── ConnectionSender ◄──── stream.respond, write, end ─┘
 */
export class Http2Connection {
  /** For whoever lists connections. */
  place = -1;
  readonly peer: string;
  readonly #input: ReceivingSocket;
  readonly #socket: Socket;
  readonly #listener: ConnectionListener;
  readonly #options: ConnectionOptions;
  readonly #peerSettings = new PeerSettings();
  readonly #streams = new StreamTable();
  readonly #window: ReceiveWindow;
  /** What a new stream may be sent at once. */
  #streamWindowBytes: number;
  readonly #sender: ConnectionSender;
  readonly #streamHost: StreamHost = this.#makeStreamHost();
  readonly #guard: FloodGuard;
  readonly #receiver: FrameReceiver;
  readonly #parser: FrameParser;
  readonly #keepalive: Keepalive;
  #ageTimer: NodeJS.Timeout | undefined;
  #drainTimer: NodeJS.Timeout | undefined;
  #lastWordTimer: NodeJS.Timeout | undefined;
  /** `ending`: the last frames are on their way to the socket, what still comes in is ignored. */
  #state: "open" | "draining" | "ending" | "closed" = "open";
  readonly #awaitingChunkEnd: Http2Stream[] = [];
  /** Received and put off: its requests begin in a later turn. */
  #postponed: Buffer | undefined;
  #isBlocked = false;
  /** Streams above it are not taken; the client is told once it is known. */
  #lastStreamIdTaken = STREAM_ID_MAX;
  #isLastStreamKnown = false;

  /** @param accepted paused, nothing of it read but what was read again. */
  constructor(accepted: Socket, listener: ConnectionListener, options: ConnectionOptions) {
    // Known to it since it was accepted; another socket on its handle asks the system once more.
    this.peer = `${accepted.remoteAddress ?? ""}:${accepted.remotePort ?? ""}`;
    this.#input = new ReceivingSocket(accepted);
    const { socket } = this.#input;
    this.#socket = socket;
    this.#listener = listener;
    this.#options = options;
    const { connectionWindowBytes, connectionWindowBytesMax, windowBudget, streamWindowBytes } = options;
    this.#streamWindowBytes = streamWindowBytes;
    this.#window = new ReceiveWindow(connectionWindowBytes, connectionWindowBytesMax, windowBudget);
    this.#sender = new ConnectionSender(socket, options, this.#peerSettings, this.#makeSenderEvents());
    this.#guard = new FloodGuard(options.floodLimits, () => performance.now());
    this.#receiver = this.#makeReceiver();
    this.#parser = new FrameParser(this.#receiver, options.frameBytesMax);
    this.#keepalive = new Keepalive({
      intervalMs: options.keepaliveIntervalMs,
      timeoutMs: options.keepaliveTimeoutMs,
      onProbe: () => this.#sender.ping(KEEPALIVE_PING, 0, false),
      onExpired: () => resetSocket(socket),
    });
    if (options.connectionAgeMsMax !== undefined) {
      // Spread, so that the clients of a whole build do not all come again at once.
      const spread = 1 + AGE_SPREAD * (2 * Math.random() - 1);
      this.#ageTimer = setTimeout(() => this.drain(), options.connectionAgeMsMax * spread).unref();
    }
    this.#listen();
    this.#greet();
  }

  get figures(): ConnectionFigures {
    return {
      openStreams: this.#streams.size,
      busyStreams: this.#streams.busyCount,
      queuedBytes: this.#sender.queuedBytes,
      unsentBytes: this.#sender.unsentBytes,
      windowBytes: this.#window.size,
    };
  }

  /** Begins to receive. Requests that are here already are reported before it returns. */
  start(): void {
    this.#input.start(this.#onChunk);
  }

  /**
   * Takes no new streams and closes when the last one has ended. In two steps, so that no request on its way is lost:
   * GOAWAY that announces it, a round trip, GOAWAY with the last stream taken (RFC 9113, section 6.8).
   */
  drain(): void {
    if (this.#state !== "open") return;
    this.#state = "draining";
    this.#sender.goaway(STREAM_ID_MAX, ERROR_CODE.noError);
    this.#sender.ping(DRAIN_PING, 0, false);
    this.#drainTimer = setTimeout(() => this.#finishDrain(), DRAIN_PING_MS).unref();
  }

  /** Ends everything now. */
  destroy(): void {
    this.#socket.destroy();
  }

  #listen(): void {
    const socket = this.#socket;
    // The client's end of the connection is the end of its calls: whoever half-closes cannot half-close streams.
    socket.once("end", () => {
      this.#abortAll("connectionLost");
      socket.destroy();
    });
    socket.on("error", () => {});
    socket.once("close", () => this.#onSocketClosed());
  }

  #greet(): void {
    const { concurrentStreamsMax, streamWindowBytes, frameBytesMax, headerListBytesMax } = this.#options;
    this.#sender.settings(
      encodeSettings([
        [SETTING.maxConcurrentStreams, concurrentStreamsMax],
        [SETTING.initialWindowSize, streamWindowBytes],
        [SETTING.maxFrameSize, frameBytesMax],
        [SETTING.maxHeaderListSize, headerListBytesMax],
      ]),
    );
    const extraBytes = this.#window.size - WINDOW_BYTES_DEFAULT;
    if (extraBytes > 0) this.#sender.windowUpdate(0, extraBytes);
  }

  readonly #onChunk = (chunk: Buffer): void => {
    if (this.#postponed === undefined) {
      const rest = this.#receive(chunk);
      if (rest !== undefined) this.#postpone(Buffer.from(rest));
    } else {
      // A socket that is paused may have one more.
      this.#postponed = Buffer.concat([this.#postponed, chunk]);
      this.#socket.pause();
    }
  };

  #postpone(rest: Buffer): void {
    this.#postponed = rest;
    this.#socket.pause();
    this.#options.requestTurns?.wait(this.#goOn);
  }

  readonly #goOn = (): void => {
    const postponed = this.#postponed!;
    this.#postponed = undefined;
    const rest = this.#receive(postponed);
    if (rest !== undefined) this.#postpone(rest);
    else if (!this.#isBlocked) this.#socket.resume();
  };

  /** @returns what has to wait for a later turn. */
  #receive(chunk: Buffer): Buffer | undefined {
    if (this.#state === "ending" || this.#state === "closed") return undefined;
    try {
      this.#streams.beginChunk();
      const end = this.#parser.push(chunk);
      // Who never completes a frame is as good as quiet, unless there is a call that takes it as it comes.
      if (!this.#parser.isInsideFrame || this.#receiver.isTakingData) this.#keepalive.noteHeard();
      if (this.#awaitingChunkEnd.length > 0) this.#endChunk();
      return end < chunk.length ? chunk.subarray(end) : undefined;
    } catch (error) {
      if (error instanceof ConnectionError) {
        this.#fail(error.code, error.message);
      } else {
        this.#listener.onFault(error);
        this.#fail(ERROR_CODE.internalError, "internal error");
      }
      return undefined;
    }
  }

  #endChunk(): void {
    for (const stream of this.#awaitingChunkEnd) {
      if (!stream.closed) stream.listener!.onChunkEnd();
    }
    this.#awaitingChunkEnd.length = 0;
  }

  /** A connection begins one request in any case. */
  #holdIfTurnIsOver(): void {
    const turns = this.#options.requestTurns;
    turns?.spend(1);
    if (turns?.isOver === true) this.#parser.hold();
  }

  #makeReceiver(): FrameReceiver {
    const host: ReceiverHost = {
      onRequest: (stream) => {
        this.#listener.onRequest(stream);
        this.#holdIfTurnIsOver();
      },
      takes: (streamId) => streamId <= this.#lastStreamIdTaken,
      makeStream: (streamId, headers) => this.#makeStream(streamId, headers),
      consume: (stream, bytes) => this.#consume(stream, bytes),
      consumeUnclaimed: (bytes) => this.#consumeUnclaimed(bytes),
      abort: (stream, reason) => this.#abort(stream, reason),
      onPong: (bytes, start) => {
        if (DRAIN_PING.compare(bytes, start, start + PING_BYTES) === 0) this.#finishDrain();
      },
      onPeerGoaway: () => {
        this.#finishDrain();
      },
    };
    return new FrameReceiver({
      options: this.#options,
      streams: this.#streams,
      sender: this.#sender,
      peerSettings: this.#peerSettings,
      guard: this.#guard,
      window: this.#window,
      host,
    });
  }

  #makeStream(streamId: number, headers: HeaderFields): Http2Stream {
    const window = new ReceiveWindow(this.#streamWindowBytes, this.#options.streamWindowBytesMax);
    return new Http2Stream(streamId, headers, this.#streamHost, window, this.#peerSettings.initialWindowBytes);
  }

  #makeStreamHost(): StreamHost {
    return {
      respond: (stream, block, endStream) => {
        this.#sender.headers(stream.id, block, endStream);
        if (endStream) this.#onStreamEnded(stream);
      },
      send: (stream) => this.#sender.send(stream),
      roomOf: (stream) => this.#sender.roomOf(stream),
      consume: (stream, bytes) => this.#consume(stream, bytes),
      reset: (stream, code) => {
        if (stream.closed) return;
        this.#sender.resetStream(stream.id, code);
        this.#closeStream(stream, true);
      },
      settled: (stream) => this.#streams.settle(stream),
      awaitChunkEnd: (stream) => void this.#awaitingChunkEnd.push(stream),
    };
  }

  #makeSenderEvents(): SenderEvents {
    return {
      onStreamEnded: (stream) => this.#onStreamEnded(stream),
      onDataSent: (frames) => {
        this.#guard.credit("windowUpdate", frames * UPDATES_PER_DATA_FRAME);
        this.#guard.credit("control", frames);
      },
      onBlocked: (blocked) => {
        this.#isBlocked = blocked;
        if (blocked) this.#socket.pause();
        else if (this.#postponed === undefined) this.#socket.resume();
      },
      onStalled: () => this.#giveUp(),
    };
  }

  /** Connections that have come together stall together, and the system frees megabytes for each. */
  #giveUp(): void {
    const { requestTurns } = this.#options;
    if (requestTurns === undefined) return resetSocket(this.#socket);
    requestTurns.wait(() => {
      // Taken while it waited for its turn.
      if (!this.#sender.isSocketFull) return;
      requestTurns.spend(1);
      resetSocket(this.#socket);
    });
  }

  /** The response is complete; if the request is not, the rest of it is not wanted (section 8.1). */
  #onStreamEnded(stream: Http2Stream): void {
    this.#guard.credit("reset", 1);
    if (!stream.remoteClosed) this.#sender.resetStream(stream.id, ERROR_CODE.noError);
    else if (stream.receiveWindow.received > this.#streamWindowBytes) this.#widenStreams(stream.receiveWindow.size);
    this.#closeStream(stream, !stream.remoteClosed);
  }

  /**
   * An upload was larger than its first window, which has grown to this: the next one is not to begin small again and wait
   * for a round trip each time that the window doubles. Streams that are open count as told at once; a client that does not
   * know yet sends less.
   */
  #widenStreams(uploadWindowBytes: number): void {
    const windowBytes = Math.min(uploadWindowBytes, this.#window.size);
    const growth = windowBytes - this.#streamWindowBytes;
    if (growth <= 0) return;
    this.#streamWindowBytes = windowBytes;
    this.#sender.settings(encodeSettings([[SETTING.initialWindowSize, windowBytes]]));
    for (const stream of this.#streams.streams()) stream.receiveWindow.widen(growth);
  }

  #consume(stream: Http2Stream, bytes: number): void {
    const consumed = Math.min(bytes, stream.unconsumedBytes);
    stream.unconsumedBytes -= consumed;
    if (!stream.remoteClosed) {
      const increment = stream.receiveWindow.consume(consumed);
      if (increment > 0) this.#sender.windowUpdate(stream.id, increment);
    }
    this.#consumeUnclaimed(consumed);
  }

  #consumeUnclaimed(bytes: number): void {
    const increment = this.#window.consume(bytes);
    if (increment > 0) this.#sender.windowUpdate(0, increment);
  }

  #abort(stream: Http2Stream, reason: AbortReason): void {
    this.#closeStream(stream, reason !== "reset");
    stream.listener?.onAborted(reason);
  }

  #abortAll(reason: AbortReason): void {
    for (const stream of this.#streams.streams()) this.#abort(stream, reason);
  }

  #closeStream(stream: Http2Stream, resetByUs: boolean): void {
    if (stream.closed) return;
    stream.localClosed = true;
    this.#streams.remove(stream, resetByUs);
    this.#sender.forget(stream);
    this.#consumeUnclaimed(stream.unconsumedBytes);
    stream.unconsumedBytes = 0;
    this.#endIfDrained();
  }

  #finishDrain(): void {
    if (this.#state !== "open" && this.#state !== "draining") return;
    clearTimeout(this.#drainTimer);
    this.#state = "draining";
    if (this.#isLastStreamKnown) return;
    this.#isLastStreamKnown = true;
    this.#lastStreamIdTaken = this.#streams.lastStreamId;
    this.#sender.goaway(this.#lastStreamIdTaken, ERROR_CODE.noError);
    this.#endIfDrained();
  }

  #endIfDrained(): void {
    if (this.#state !== "draining" || !this.#isLastStreamKnown || this.#streams.size > 0) return;
    this.#end(DRAINED_MS);
  }

  /** A connection error (section 5.4.1). */
  #fail(code: number, message: string): void {
    if (this.#state === "ending" || this.#state === "closed") return;
    this.#sender.goaway(this.#streams.lastStreamId, code, message);
    this.#end(LAST_WORD_MS);
    this.#abortAll("protocolError");
  }

  /** Sends what is there to send, then closes, in a bounded time. */
  #end(graceMs: number): void {
    this.#state = "ending";
    this.#sender.finish();
    this.#socket.end();
    this.#lastWordTimer = setTimeout(() => this.#socket.destroy(), graceMs).unref();
  }

  #onSocketClosed(): void {
    this.#state = "closed";
    for (const timer of [this.#ageTimer, this.#drainTimer, this.#lastWordTimer]) clearTimeout(timer);
    this.#keepalive.close();
    this.#abortAll("connectionLost");
    this.#sender.close();
    this.#window.close();
    this.#listener.onClosed();
  }
}
