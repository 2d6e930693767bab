import { encodeHeaderBlock } from "./hpack/encode-header-block.ts";
import { HpackDecoder } from "./hpack/hpack-decoder.ts";
import { ConnectionError, ERROR_CODE } from "./error-code.ts";
import { RESET_AT_ONCE_COST } from "./flood-guard.ts";
import { FLAG, HEADER_TABLE_BYTES_DEFAULT, PRIORITY_BYTES, readWord31 } from "./frame-format.ts";
import type { ReceiverParts } from "./frame-receiver.ts";
import { HeaderBlockAssembler } from "./header-block-assembler.ts";
import type { HeaderFields } from "./header-fields.ts";
import type { Http2Stream } from "./http2-stream.ts";
import { areWellFormedTrailers, parseContentLength } from "./request-validation.ts";

const TOO_LARGE = encodeHeaderBlock([[":status", "431"]]);

/** What HEADERS and CONTINUATION frames mean: requests and trailers. */
export class HeaderReceiver {
  readonly #parts: ReceiverParts;
  readonly #decoder: HpackDecoder;
  readonly #block: HeaderBlockAssembler;
  /** Of the block in hand. */
  #endStream = false;
  #isNew = false;
  #isSelfDependent = false;

  constructor(parts: ReceiverParts) {
    this.#parts = parts;
    const { headerListBytesMax } = parts.options;
    // The default: another size would hold only from the client's acknowledgement on, and brings nothing.
    this.#decoder = new HpackDecoder({ tableBytesMax: HEADER_TABLE_BYTES_DEFAULT, listBytesMax: headerListBytesMax });
    this.#block = new HeaderBlockAssembler(headerListBytesMax);
  }

  /** Whether CONTINUATION frames have to follow. */
  get isIncomplete(): boolean {
    return this.#block.streamId !== 0;
  }

  onHeaders(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const { streams } = this.#parts;
    if (streamId % 2 === 0) throw protocolError(`HEADERS: unexpected on stream ${streamId}`);
    const fragment = this.#fragment(flags, streamId, bytes, start, end);
    this.#endStream = (flags & FLAG.endStream) !== 0;
    this.#isNew = streamId > streams.lastStreamId;
    if (this.#isNew) streams.noteOpened(streamId);
    if ((flags & FLAG.endHeaders) !== 0) {
      this.#onBlock(streamId, this.#decoder.decode(bytes, fragment.start, fragment.end));
      return;
    }
    this.#block.begin(streamId);
    this.#block.add(bytes, fragment.start, fragment.end);
  }

  onContinuation(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (streamId === 0 || streamId !== this.#block.streamId) {
      throw protocolError(`CONTINUATION: unexpected on stream ${streamId}`);
    }
    this.#block.add(bytes, start, end);
    if ((flags & FLAG.endHeaders) === 0) return;
    const block = this.#block.take();
    this.#onBlock(streamId, this.#decoder.decode(block, 0, block.length));
  }

  /** The client has sent all of its request. */
  endRequest(stream: Http2Stream): void {
    if (stream.expectedBytes > 0) return this.failStream(stream.id, ERROR_CODE.protocolError);
    stream.remoteClosed = true;
    stream.listener!.onEnd();
  }

  /** A stream was reset, by the client or because of it. */
  spendReset(streamId: number): void {
    const { streams, guard } = this.#parts;
    guard.spend("reset", streams.isJustBegun(streamId) ? RESET_AT_ONCE_COST : 1);
  }

  /** A stream error (RFC 9113, section 5.4.2). Made on purpose, it costs the client no less than its own resets. */
  failStream(streamId: number, code: number): void {
    const { streams, sender, guard, host } = this.#parts;
    // A client that has begun too many does not know yet how many it may.
    if (code === ERROR_CODE.refusedStream) guard.spend("reset");
    else this.spendReset(streamId);
    sender.resetStream(streamId, code);
    const stream = streams.get(streamId);
    if (stream === undefined) streams.noteReset(streamId);
    else host.abort(stream, "protocolError");
  }

  /** The header block in a HEADERS payload, without padding and priority. */
  #fragment(flags: number, streamId: number, bytes: Buffer, start: number, end: number) {
    let at = start;
    let paddingBytes = 0;
    if ((flags & FLAG.padded) !== 0 && at < end) paddingBytes = bytes[at++]!;
    this.#isSelfDependent = false;
    if ((flags & FLAG.priority) !== 0 && end - at >= PRIORITY_BYTES) {
      this.#isSelfDependent = readWord31(bytes, at) === streamId;
      at += PRIORITY_BYTES;
    }
    if (end - at < paddingBytes) throw protocolError(`HEADERS: ${paddingBytes} bytes of padding`);
    return { start: at, end: end - paddingBytes };
  }

  /** @param fields undefined where there are too many. */
  #onBlock(streamId: number, fields: HeaderFields | undefined): void {
    const { streams, host, guard } = this.#parts;
    if (!this.#isNew) return this.#onTrailers(streamId, fields);
    if (!host.takes(streamId)) {
      guard.spend("reset");
      return streams.noteReset(streamId);
    }
    if (fields === undefined) return this.#refuseTooLarge(streamId);
    if (this.#isSelfDependent || !fields.isWellFormedRequest) {
      return this.failStream(streamId, ERROR_CODE.protocolError);
    }
    if (!this.#hasRoom()) return this.failStream(streamId, ERROR_CODE.refusedStream);
    this.#onRequest(streamId, fields);
  }

  #hasRoom(): boolean {
    const { options, streams, sender } = this.#parts;
    return streams.busyCount < options.concurrentStreamsMax && sender.queuedBytes < options.queuedBytesMax;
  }

  #onRequest(streamId: number, fields: HeaderFields): void {
    const { streams, host } = this.#parts;
    const length = fields.get("content-length");
    const expectedBytes = length === undefined ? -1 : parseContentLength(length);
    if (Number.isNaN(expectedBytes)) return this.failStream(streamId, ERROR_CODE.protocolError);
    const stream = host.makeStream(streamId, fields);
    stream.expectedBytes = expectedBytes;
    if (this.#endStream && expectedBytes > 0) return this.failStream(streamId, ERROR_CODE.protocolError);
    streams.add(stream);
    const endStream = this.#endStream;
    host.onRequest(stream);
    if (endStream && !stream.closed) this.endRequest(stream);
  }

  #onTrailers(streamId: number, fields: HeaderFields | undefined): void {
    const { streams } = this.#parts;
    const stream = streams.get(streamId);
    if (stream === undefined) {
      const state = streams.closedState(streamId);
      if (state === "reset") return;
      const code = state === "ended" ? ERROR_CODE.streamClosed : ERROR_CODE.protocolError;
      throw new ConnectionError(code, `HEADERS: stream ${streamId} is closed`);
    }
    if (stream.remoteClosed) return this.failStream(streamId, ERROR_CODE.streamClosed);
    if (!this.#endStream || fields === undefined || !areWellFormedTrailers(fields.flat)) {
      return this.failStream(streamId, ERROR_CODE.protocolError);
    }
    this.endRequest(stream);
  }

  #refuseTooLarge(streamId: number): void {
    const { sender, streams, guard } = this.#parts;
    guard.spend("reset");
    sender.headers(streamId, TOO_LARGE, true);
    if (!this.#endStream) sender.resetStream(streamId, ERROR_CODE.noError);
    streams.noteReset(streamId);
  }
}

function protocolError(message: string): ConnectionError {
  return new ConnectionError(ERROR_CODE.protocolError, message);
}
