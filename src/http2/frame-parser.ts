import { ConnectionError, ERROR_CODE } from "./error-code.ts";
import { FLAG, FRAME, FRAME_HEADER_BYTES, PREFACE, readWord31 } from "./frame-format.ts";

const NO_BYTES = Buffer.alloc(0);

/** Hears of each frame in order. What it throws comes out of {@link FrameParser.push}. */
export interface FrameSink {
  /** The header of a DATA frame. @param lengthBytes of the whole payload, padding included: what flow control counts. */
  onDataStart(streamId: number, flags: number, lengthBytes: number, paddingBytes: number): void;
  /** Some of its data: `chunk` from `start` to `end`. The chunk is the one that was pushed. */
  onData(chunk: Buffer, start: number, end: number): void;
  onDataEnd(): void;
  /** Any other frame, its payload in `bytes` from `start` to `end`, which may change once this has returned. */
  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void;
}

/**
 * Cuts what a client sends into frames, in place. Bytes are carried over from one chunk to the next only where a frame
 * header or a frame other than DATA straddles them:
 *
 *     preface ──► header ──┬─ DATA ──► data ──► padding ──┐
 *                    ▲     └─ others, whole ──────────────┤
 *                    └────────────────────────────────────┘
 */
export class FrameParser {
  readonly #sink: FrameSink;
  readonly #frameBytesMax: number;
  #isHeld = false;
  #prefaceSeen = 0;
  /** Of the DATA frame in hand. */
  #dataLeft = 0;
  #paddingLeft = 0;
  #inData = false;
  /** The beginning of a frame: `#carried` bytes of it. */
  #carry: Buffer = NO_BYTES;
  #carried = 0;

  /** @param frameBytesMax the SETTINGS_MAX_FRAME_SIZE that the peer was told. */
  constructor(sink: FrameSink, frameBytesMax: number) {
    this.#sink = sink;
    this.#frameBytesMax = frameBytesMax;
  }

  /** Whether a frame has begun and is incomplete. */
  get isInsideFrame(): boolean {
    return this.#carried > 0 || this.#inData;
  }

  /** Leaves what follows from the next HEADERS frame on of the chunk that is being pushed. */
  hold(): void {
    this.#isHeld = true;
  }

  /**
   * @returns where it has stopped: the end, unless the sink has it {@link hold}; the rest has to be pushed before anything else.
   * @throws {ConnectionError} PROTOCOL_ERROR for a wrong preface, FRAME_SIZE_ERROR; and what the sink throws.
   */
  push(chunk: Buffer): number {
    const end = chunk.length;
    this.#isHeld = false;
    let at = this.#prefaceSeen < PREFACE.length ? this.#preface(chunk) : 0;
    while (at < end) {
      if (this.#inData) at = this.#data(chunk, at, end);
      else if (this.#carried > 0) at = this.#completeCarried(chunk, at, end);
      else if (this.#isHeld && chunk[at + 3] === FRAME.headers) return at;
      else at = this.#frame(chunk, at, end);
    }
    return end;
  }

  #preface(chunk: Buffer): number {
    const compared = Math.min(chunk.length, PREFACE.length - this.#prefaceSeen);
    if (PREFACE.compare(chunk, 0, compared, this.#prefaceSeen, this.#prefaceSeen + compared) !== 0) {
      throw new ConnectionError(ERROR_CODE.protocolError, "the connection does not begin with the HTTP/2 preface");
    }
    this.#prefaceSeen += compared;
    return compared;
  }

  /** A frame that begins at `at`. @returns where to go on. */
  #frame(chunk: Buffer, at: number, end: number): number {
    if (end - at < FRAME_HEADER_BYTES) return this.#carryOver(chunk, at, end, FRAME_HEADER_BYTES);
    const lengthBytes = this.#payloadBytes(chunk, at);
    const payloadAt = at + FRAME_HEADER_BYTES;
    if (chunk[at + 3] === FRAME.data) return this.#dataStart(chunk, at, end, lengthBytes);
    if (end - payloadAt < lengthBytes) return this.#carryOver(chunk, at, end, FRAME_HEADER_BYTES + lengthBytes);
    this.#emit(chunk, at, lengthBytes);
    return payloadAt + lengthBytes;
  }

  /** A DATA frame whose header is at `at`. @returns where its data begins. */
  #dataStart(bytes: Buffer, at: number, end: number, lengthBytes: number): number {
    const flags = bytes[at + 4]!;
    const streamId = readWord31(bytes, at + 5);
    let dataAt = at + FRAME_HEADER_BYTES;
    let paddingBytes = 0;
    if ((flags & FLAG.padded) !== 0) {
      if (lengthBytes === 0) throw new ConnectionError(ERROR_CODE.frameSizeError, "DATA: no room for the pad length");
      if (dataAt === end) return this.#carryOver(bytes, at, end, FRAME_HEADER_BYTES + 1);
      paddingBytes = bytes[dataAt++]!;
      if (paddingBytes >= lengthBytes) {
        throw new ConnectionError(ERROR_CODE.protocolError, `DATA: ${paddingBytes} bytes of padding in ${lengthBytes}`);
      }
      this.#paddingLeft = paddingBytes;
      paddingBytes++;
    }
    this.#dataLeft = lengthBytes - paddingBytes;
    this.#inData = true;
    this.#sink.onDataStart(streamId, flags, lengthBytes, paddingBytes);
    this.#endDataIfDone();
    return dataAt;
  }

  #data(chunk: Buffer, at: number, end: number): number {
    let next = at;
    if (this.#dataLeft > 0) {
      next = Math.min(end, at + this.#dataLeft);
      this.#dataLeft -= next - at;
      this.#sink.onData(chunk, at, next);
    }
    const skipped = Math.min(end - next, this.#paddingLeft);
    this.#paddingLeft -= skipped;
    this.#endDataIfDone();
    return next + skipped;
  }

  #endDataIfDone(): void {
    if (this.#dataLeft > 0 || this.#paddingLeft > 0) return;
    this.#inData = false;
    this.#sink.onDataEnd();
  }

  /** Keeps the beginning of a frame, of which `neededBytes` have to be seen together. */
  #carryOver(chunk: Buffer, at: number, end: number, neededBytes: number): number {
    if (this.#carry.length < neededBytes) {
      const carry = Buffer.allocUnsafeSlow(Math.max(64, neededBytes));
      this.#carry.copy(carry, 0, 0, this.#carried);
      this.#carry = carry;
    }
    chunk.copy(this.#carry, this.#carried, at, end);
    this.#carried += end - at;
    return end;
  }

  #completeCarried(chunk: Buffer, at: number, end: number): number {
    const needed = this.#carriedNeeds();
    const next = Math.min(end, at + needed - this.#carried);
    this.#carryOver(chunk, at, next, needed);
    if (this.#carried < needed || needed < this.#carriedNeeds()) return next;
    this.#carried = 0;
    if (this.#carry[3] === FRAME.data) {
      this.#dataStart(this.#carry, 0, needed, this.#payloadBytes(this.#carry, 0));
    } else {
      this.#emit(this.#carry, 0, needed - FRAME_HEADER_BYTES);
      // A frame of the largest size is rare; its buffer need not stay for the life of the connection.
      if (this.#carry.length > 1024) this.#carry = NO_BYTES;
    }
    return next;
  }

  /** Bytes of the carried frame that have to be seen together, as far as is known. */
  #carriedNeeds(): number {
    if (this.#carried < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
    const lengthBytes = this.#payloadBytes(this.#carry, 0);
    if (this.#carry[3] !== FRAME.data) return FRAME_HEADER_BYTES + lengthBytes;
    const isPadded = (this.#carry[4]! & FLAG.padded) !== 0 && lengthBytes > 0;
    return isPadded ? FRAME_HEADER_BYTES + 1 : FRAME_HEADER_BYTES;
  }

  #payloadBytes(bytes: Buffer, at: number): number {
    const lengthBytes = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    if (lengthBytes > this.#frameBytesMax) {
      throw new ConnectionError(
        ERROR_CODE.frameSizeError,
        `frame: expected at most ${this.#frameBytesMax} bytes, got ${lengthBytes}`,
      );
    }
    return lengthBytes;
  }

  #emit(bytes: Buffer, at: number, lengthBytes: number): void {
    const payloadAt = at + FRAME_HEADER_BYTES;
    const streamId = readWord31(bytes, at + 5);
    this.#sink.onFrame(bytes[at + 3]!, bytes[at + 4]!, streamId, bytes, payloadAt, payloadAt + lengthBytes);
  }
}
