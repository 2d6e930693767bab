import type { Socket } from "node:net";
import type { ConnectionOptions } from "./connection-options.ts";
import {
  FLAG,
  FRAME,
  FRAME_HEADER_BYTES,
  PING_BYTES,
  WINDOW_BYTES_DEFAULT,
  WINDOW_BYTES_LIMIT,
  writeFrameHeader,
  writeWord,
} from "./frame-format.ts";
import type { Http2Stream } from "./http2-stream.ts";
import { OutputBuffer } from "./output-buffer.ts";
import type { PeerSettings } from "./settings.ts";

/** One stream's share before the next gets its turn. */
const TURN_BYTES = 64 * 1024;
const WORD_BYTES = 4;
/** A response that is divided where room is short is not divided further than that. */
const ROOM_BYTES_MIN = 1024;
/** For what is around a message as large as what may be held: with its last bytes its memory is given back. */
const FRAMING_BYTES = 1024;

export interface SenderEvents {
  /** END_STREAM of this stream has been written. */
  onStreamEnded(stream: Http2Stream): void;
  /** So many DATA frames were written: an honest client's WINDOW_UPDATEs follow. */
  onDataSent(frames: number): void;
  /** The socket takes nothing and too much waits for it (true), or it has taken it (false). */
  onBlocked(blocked: boolean): void;
  /** The socket has taken nothing for the stated time. */
  onStalled(): void;
}

/**
 * The sending half of a connection. Frames are written into one buffer and leave at the end of the turn of the event
 * loop in one vectored write. DATA that the windows or the socket have no room for waits in its stream:
 *
 *     stream.queue ──(stream window, connection window, backlog)──► output ──(end of turn)──► socket
 *        ▲ waits here, streams take turns
 */
export class ConnectionSender {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #peerSettings: PeerSettings;
  readonly #events: SenderEvents;
  readonly #output = new OutputBuffer();
  #window = WINDOW_BYTES_DEFAULT;
  /** Streams whose queue may go out as far as their own window is concerned. */
  #ready: Http2Stream[] = [];
  #queuedBytes = 0;
  /** Of the output budget. */
  #heldBytes = 0;
  #isFlushScheduled = false;
  #isSocketFull = false;
  #isBlocked = false;
  #stallTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(socket: Socket, options: ConnectionOptions, peerSettings: PeerSettings, events: SenderEvents) {
    this.#socket = socket;
    this.#options = options;
    this.#peerSettings = peerSettings;
    this.#events = events;
    socket.on("drain", this.#onDrain);
  }

  /** DATA that waits in streams. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Nothing more goes out until the socket has taken what it has. */
  get isSocketFull(): boolean {
    return this.#isSocketFull;
  }

  /** Frames that the socket has not taken. */
  get unsentBytes(): number {
    return this.#output.bytes + this.#socket.writableLength;
  }

  /**
   * What of a stream may wait here before more of it is made. While room is short, that is no more than what its client
   * has opened windows for, and next to nothing where this connection holds as much as it may.
   */
  roomOf(stream: Http2Stream): number {
    const share = this.#shareBytes;
    if (share === this.#options.socketBacklogBytesMax) return share;
    if (this.#heldBytes >= share) return ROOM_BYTES_MIN;
    return Math.max(ROOM_BYTES_MIN, Math.min(share, stream.sendWindow, this.#window));
  }

  /** HEADERS, and CONTINUATIONs where the block is longer than the client's frames. */
  headers(streamId: number, block: Buffer, endStream: boolean): void {
    const { frameBytesMax } = this.#peerSettings;
    const firstBytes = Math.min(block.length, frameBytesMax);
    let flags = (endStream ? FLAG.endStream : 0) | (firstBytes === block.length ? FLAG.endHeaders : 0);
    this.#frame(FRAME.headers, flags, streamId, block, 0, firstBytes);
    for (let at = firstBytes; at < block.length; at += frameBytesMax) {
      const end = Math.min(block.length, at + frameBytesMax);
      flags = end === block.length ? FLAG.endHeaders : 0;
      this.#frame(FRAME.continuation, flags, streamId, block, at, end);
    }
    this.#schedule();
  }

  settings(payload: Buffer): void {
    this.#frame(FRAME.settings, 0, 0, payload, 0, payload.length);
    this.#schedule();
  }

  settingsAck(): void {
    this.#header(0, FRAME.settings, FLAG.ack, 0);
    this.#schedule();
  }

  ping(bytes: Buffer, start: number, isAck: boolean): void {
    this.#frame(FRAME.ping, isAck ? FLAG.ack : 0, 0, bytes, start, start + PING_BYTES);
    this.#schedule();
  }

  resetStream(streamId: number, code: number): void {
    this.#wordFrame(FRAME.rstStream, streamId, code);
  }

  windowUpdate(streamId: number, increment: number): void {
    this.#wordFrame(FRAME.windowUpdate, streamId, increment);
  }

  goaway(lastStreamId: number, code: number, message = ""): void {
    const debug = Buffer.from(message);
    const at = this.#header(2 * WORD_BYTES + debug.length, FRAME.goaway, 0, 0);
    const { slab } = this.#output;
    writeWord(slab, at, lastStreamId);
    writeWord(slab, at + WORD_BYTES, code);
    debug.copy(slab, at + 2 * WORD_BYTES);
    this.#schedule();
  }

  /** The queue or the end of a stream has changed: sends what may go. */
  send(stream: Http2Stream): void {
    this.#sendTurn(stream, Number.POSITIVE_INFINITY);
    this.#schedule();
  }

  /** A stream is gone: nothing of it is sent any more. */
  forget(stream: Http2Stream): void {
    stream.queue.clear();
    this.#account(stream);
    stream.finalBlock = undefined;
    clearTimeout(stream.stallTimer);
    stream.stallTimer = undefined;
  }

  /** @returns false where the window would exceed what the protocol allows. */
  grow(increment: number): boolean {
    this.#window += increment;
    if (this.#window > WINDOW_BYTES_LIMIT) return false;
    this.pump();
    return true;
  }

  /** @returns false where the window would exceed what the protocol allows. */
  growStream(stream: Http2Stream, increment: number): boolean {
    stream.sendWindow += increment;
    if (stream.sendWindow > WINDOW_BYTES_LIMIT) return false;
    if (stream.queue.bytes > 0) this.send(stream);
    return true;
  }

  /** Sends what waits in streams, in turns, as far as there is room. */
  pump(): void {
    for (let turns = this.#ready.length; turns > 0 && this.#hasRoom(); turns = this.#ready.length) {
      const stream = this.#ready.shift()!;
      stream.isReady = false;
      if (!stream.closed) this.#sendTurn(stream, TURN_BYTES);
    }
    this.#schedule();
  }

  /** Writes what is there now instead of at the end of the turn. */
  flush(): void {
    if (!this.#isClosed && !this.#isSocketFull) this.#write();
  }

  /** Writes what is there, and nothing more after it. */
  finish(): void {
    if (!this.#isClosed) this.#write();
    this.close();
  }

  #write(): void {
    const pieces = this.#output.take();
    const last = pieces.pop();
    if (last === undefined) return;
    const afterTaken = this.#output.takeAfterTaken();
    const socket = this.#socket;
    if (pieces.length > 0) socket.cork();
    for (const piece of pieces) socket.write(piece);
    socket.write(last, afterTaken);
    if (pieces.length > 0) socket.uncork();
    if (socket.writableLength === 0) {
      // The system has copied all of it, as it mostly has.
      this.#output.reuseSlab();
      afterTaken?.();
    } else if (socket.writableNeedDrain) this.#onSocketFull();
    // Over TLS, and where the system's buffers are full, it is taken later.
    this.#noteHeld();
  }

  close(): void {
    this.#isClosed = true;
    this.#noteHeld();
    clearTimeout(this.#stallTimer);
    this.#ready = [];
    this.#socket.off("drain", this.#onDrain);
  }

  #hasRoom(): boolean {
    return this.#window > 0 && this.#backlogBytes() < this.#shareBytes + FRAMING_BYTES;
  }

  /**
   * Output of one turn of the event loop leaves together, but no later than when it has come to so much: all of it may
   * have to wait. Each write wakes the client, and may have it read little: fewer, larger ones cost both ends less.
   */
  get #shareBytes(): number {
    const { outputBudget, socketBacklogBytesMax } = this.#options;
    return outputBudget === undefined
      ? socketBacklogBytesMax
      : Math.min(socketBacklogBytesMax, outputBudget.shareBytes);
  }

  /** Tells how much of this connection's output waits now. */
  #noteHeld(): void {
    const bytes = this.#isClosed ? 0 : this.#queuedBytes + this.#backlogBytes();
    if (bytes === this.#heldBytes) return;
    this.#options.outputBudget?.change(bytes - this.#heldBytes);
    this.#heldBytes = bytes;
  }

  /** Of a socket that is not full nobody hears when it has taken the little that it has. */
  #backlogBytes(): number {
    return this.#isSocketFull ? this.#output.bytes + this.#socket.writableLength : this.#output.bytes;
  }

  #sendTurn(stream: Http2Stream, turnBytes: number): void {
    const { queue } = stream;
    let turnLeft = turnBytes;
    let frames = 0;
    const before = queue.bytes;
    while (queue.bytes > 0 && turnLeft > 0 && stream.sendWindow > 0 && this.#hasRoom()) {
      const { frameBytesMax } = this.#peerSettings;
      const bytes = Math.min(queue.bytes, frameBytesMax, stream.sendWindow, this.#window, turnLeft);
      const isLast = stream.endsWithData && bytes === queue.bytes;
      this.#header(bytes, FRAME.data, isLast ? FLAG.endStream : 0, stream.id, 0);
      queue.moveTo(this.#output, bytes);
      stream.sendWindow -= bytes;
      this.#window -= bytes;
      turnLeft -= bytes;
      frames++;
      if (this.#output.bytes >= this.#shareBytes + FRAMING_BYTES) this.flush();
    }
    if (this.#output.bytes >= this.#shareBytes) this.flush();
    if (frames > 0) this.#events.onDataSent(frames);
    this.#account(stream);
    if (queue.bytes === 0) this.#finish(stream, before > 0);
    else this.#wait(stream, before);
  }

  #account(stream: Http2Stream): void {
    this.#queuedBytes += stream.queue.bytes - stream.accountedBytes;
    stream.accountedBytes = stream.queue.bytes;
    this.#noteHeld();
  }

  /** The queue of a stream is empty. */
  #finish(stream: Http2Stream, hasSent: boolean): void {
    if (stream.stallTimer !== undefined) {
      clearTimeout(stream.stallTimer);
      stream.stallTimer = undefined;
      stream.listener?.onSent();
    }
    if (stream.localClosed) return;
    if (stream.finalBlock !== undefined) {
      this.headers(stream.id, stream.finalBlock, true);
      stream.finalBlock = undefined;
    } else if (!stream.endsWithData) return;
    else if (!hasSent) this.#header(0, FRAME.data, FLAG.endStream, stream.id);
    stream.localClosed = true;
    this.#events.onStreamEnded(stream);
  }

  /** Some of the queue has to wait. */
  #wait(stream: Http2Stream, bytesBefore: number): void {
    if (stream.sendWindow > 0 && !stream.isReady) {
      stream.isReady = true;
      this.#ready.push(stream);
    }
    if (stream.stallTimer === undefined) {
      const stalled = (): void => stream.listener?.onSendStalled();
      stream.stallTimer = setTimeout(stalled, this.#options.sendStallTimeoutMs).unref();
    } else if (stream.queue.bytes < bytesBefore) {
      stream.stallTimer.refresh();
      stream.listener?.onSent();
    }
  }

  #frame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const at = this.#header(end - start, type, flags, streamId);
    bytes.copy(this.#output.slab, at, start, end);
  }

  #wordFrame(type: number, streamId: number, word: number): void {
    // The slab is looked up after the room is reserved, which may change it.
    const at = this.#header(WORD_BYTES, type, 0, streamId);
    writeWord(this.#output.slab, at, word);
    this.#schedule();
  }

  /** @returns where in the slab the payload belongs, for which there is room. */
  #header(lengthBytes: number, type: number, flags: number, streamId: number, roomBytes = lengthBytes): number {
    const at = this.#output.reserve(FRAME_HEADER_BYTES + roomBytes);
    return writeFrameHeader(this.#output.slab, at, lengthBytes, type, flags, streamId);
  }

  #schedule(): void {
    if (this.#isFlushScheduled || this.#isClosed || this.#output.bytes === 0) return;
    if (this.#isSocketFull) {
      this.#noteBlocked(this.#output.bytes > this.#options.controlBacklogBytesMax);
      return;
    }
    this.#isFlushScheduled = true;
    this.#options.atTurnEnd(this.#onTurnEnd);
  }

  readonly #onTurnEnd = (): void => {
    this.#isFlushScheduled = false;
    this.flush();
    // Where others have taken room from it since the last write, DATA waits although the socket is not full.
    if (this.#ready.length > 0 && !this.#isSocketFull) this.pump();
  };

  #onSocketFull(): void {
    this.#isSocketFull = true;
    this.#stallTimer ??= setTimeout(() => this.#events.onStalled(), this.#options.sendStallTimeoutMs).unref();
  }

  readonly #onDrain = (): void => {
    // Also after a write that was taken at once.
    if (!this.#isSocketFull) return;
    this.#isSocketFull = false;
    this.#noteHeld();
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
    this.#noteBlocked(false);
    this.pump();
    this.flush();
  };

  #noteBlocked(blocked: boolean): void {
    if (blocked === this.#isBlocked) return;
    this.#isBlocked = blocked;
    this.#events.onBlocked(blocked);
  }
}
