import type { HeaderFields } from "./header-fields.ts";
import type { ReceiveWindow } from "./receive-window.ts";
import { SendQueue } from "./send-queue.ts";

/** Why a stream ended before its response: the client reset it, the connection is gone, or the client broke a rule. */
export type AbortReason = "reset" | "connectionLost" | "protocolError";

/** Whoever answers a request. Nothing is called after the response was ended, the stream reset or `onAborted` called. */
export interface StreamListener {
  /**
   * Body bytes: `chunk` from `start` to `end`, valid until the chunk is done: see {@link Http2Stream.awaitChunkEnd}.
   * Each byte counts against the windows until {@link Http2Stream.consume}. Where a body goes on directly behind the frame header of 9 bytes, that header lies in
   * the same chunk and is free to be overwritten.
   */
  onData(chunk: Buffer, start: number, end: number): void;
  /** Asked for by {@link Http2Stream.awaitChunkEnd}: its bytes are about to be overwritten. */
  onChunkEnd(): void;
  /** The request is complete. */
  onEnd(): void;
  onAborted(reason: AbortReason): void;
  /** Some of what was unsent has gone out. */
  onSent(): void;
  /** The client has taken nothing of what waits for it for the stated time. */
  onSendStalled(): void;
}

/** What a stream asks of its connection. */
export interface StreamHost {
  respond(stream: Http2Stream, block: Buffer, endStream: boolean): void;
  /** `stream.queue` or `stream.finalBlock` has changed. */
  send(stream: Http2Stream): void;
  roomOf(stream: Http2Stream): number;
  consume(stream: Http2Stream, bytes: number): void;
  reset(stream: Http2Stream, code: number): void;
  settled(stream: Http2Stream): void;
  awaitChunkEnd(stream: Http2Stream): void;
}

/**
 * One request and its response. Idle streams have no object; the states of RFC 9113, section 5.1 are:
 *
 *     remoteClosed  localClosed
 *        no            no        open
 *        yes           no        half-closed (remote): the request is complete
 *        no            yes       reset with NO_ERROR at once: the rest of the request is not wanted
 *        yes           yes       closed
 */
export class Http2Stream {
  readonly id: number;
  readonly headers: HeaderFields;
  readonly #host: StreamHost;
  listener: StreamListener | undefined;

  // Owned by the connection.
  remoteClosed = false;
  localClosed = false;
  /** Gone from the table of streams. */
  closed = false;
  /** The listener is done with it; until then it takes one of the places for concurrent streams. */
  isSettled = false;
  readonly receiveWindow: ReceiveWindow;
  /** Body bytes received and not consumed. */
  unconsumedBytes = 0;
  /** What `content-length` promises; -1: nothing. */
  expectedBytes = -1;

  // Owned by the sender.
  sendWindow: number;
  readonly queue = new SendQueue();
  /** Goes out after the queue, with END_STREAM. */
  finalBlock: Buffer | undefined;
  /** END_STREAM goes out with the last of the queue. */
  endsWithData = false;
  isReady = false;
  /** Of the queue, in the sum of all queues. */
  accountedBytes = 0;
  stallTimer: NodeJS.Timeout | undefined;

  constructor(id: number, headers: HeaderFields, host: StreamHost, receiveWindow: ReceiveWindow, sendWindow: number) {
    this.id = id;
    this.headers = headers;
    this.#host = host;
    this.receiveWindow = receiveWindow;
    this.sendWindow = sendWindow;
  }

  /** Bytes given to {@link write} that neither the client's windows nor the socket have had room for. */
  get unsentBytes(): number {
    return this.queue.bytes;
  }

  /** Unsent bytes from which on it is better to wait than to {@link write} more: fewer while many clients are slow. */
  get roomBytes(): number {
    return this.#host.roomOf(this);
  }

  /** Sends the header block of the response. */
  respond(block: Buffer, endStream = false): void {
    if (!this.localClosed) this.#host.respond(this, block, endStream);
  }

  /** Sends body bytes, which must not change from now on. */
  write(...pieces: readonly Buffer[]): void {
    if (this.localClosed) return;
    for (const piece of pieces) this.queue.push(piece);
    this.#host.send(this);
  }

  /** The same of bytes that may change once `afterTaken` was called; it never is where the stream is reset. */
  writeLent(pieces: readonly Buffer[], afterTaken: () => void): void {
    if (this.localClosed) return;
    const last = pieces.length - 1;
    for (const [index, piece] of pieces.entries()) this.queue.push(piece, index === last ? afterTaken : undefined);
    this.#host.send(this);
  }

  /** Ends the response after what was written. @param trailers a header block. */
  end(trailers?: Buffer): void {
    if (this.localClosed) return;
    this.finalBlock = trailers;
    this.endsWithData = trailers === undefined;
    this.#host.send(this);
  }

  /** Drops what was written and has not gone out, so that the next thing the client sees is how the response ends. */
  dropUnsent(): void {
    this.queue.clear();
  }

  /** Gives the client room for as many more bytes. */
  consume(bytes: number): void {
    this.#host.consume(this, bytes);
  }

  /** Has the listener called once when the chunk in hand is done. */
  awaitChunkEnd(): void {
    this.#host.awaitChunkEnd(this);
  }

  /** Ends both directions now. @param code of RFC 9113, section 7. */
  reset(code: number): void {
    this.#host.reset(this, code);
  }

  /** The listener does nothing more with this stream. To be called exactly once. */
  settle(): void {
    this.#host.settled(this);
  }
}
