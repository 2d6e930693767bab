import { type ClosedState, ClosedStreams } from "./closed-streams.ts";
import type { Http2Stream } from "./http2-stream.ts";
import { StreamMap } from "./stream-map.ts";

/** The streams of a connection; the client opens all of them, with odd and rising ids. */
export class StreamTable {
  readonly #open = new StreamMap();
  readonly #closed = new ClosedStreams();
  #lastStreamId = 0;
  #lastStreamIdBefore = 0;
  /** Streams that are closed while their listeners still work. */
  #unsettledCount = 0;

  /** Open streams. */
  get size(): number {
    return this.#open.size;
  }

  /** What counts against the limit of concurrent streams: a client must not start new work by resetting the old. */
  get busyCount(): number {
    return this.#open.size + this.#unsettledCount;
  }

  /** The highest id seen; ids above it are idle. */
  get lastStreamId(): number {
    return this.#lastStreamId;
  }

  get(streamId: number): Http2Stream | undefined {
    return this.#open.get(streamId);
  }

  /** Of a stream that is not open and not idle. */
  closedState(streamId: number): ClosedState {
    return this.#closed.stateOf(streamId);
  }

  /** Those that are open now. */
  streams(): Http2Stream[] {
    return this.#open.streams();
  }

  /** What follows has come in one piece. */
  beginChunk(): void {
    this.#lastStreamIdBefore = this.#lastStreamId;
  }

  /** Whether the stream has begun in the piece in hand, and none after it. */
  isJustBegun(streamId: number): boolean {
    return streamId === this.#lastStreamId && streamId > this.#lastStreamIdBefore;
  }

  /** Those below have left the idle state, too, if they were in it (RFC 9113, section 5.1.1). */
  noteOpened(streamId: number): void {
    this.#lastStreamId = streamId;
  }

  add(stream: Http2Stream): void {
    this.#open.add(stream);
  }

  remove(stream: Http2Stream, resetByUs: boolean): void {
    stream.closed = true;
    if (!this.#open.delete(stream.id)) return;
    this.#closed.add(stream.id, resetByUs);
    if (!stream.isSettled) this.#unsettledCount++;
  }

  /** Notes a stream that was answered without ever being in the table. */
  noteReset(streamId: number): void {
    this.#closed.add(streamId, true);
  }

  settle(stream: Http2Stream): void {
    if (stream.isSettled) return;
    stream.isSettled = true;
    if (stream.closed) this.#unsettledCount--;
  }
}
