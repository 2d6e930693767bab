import { constants, createZstdDecompress } from "node:zlib";
import { CacheError } from "../cache-error.ts";
import { invalidZstd, WINDOW_LOG_MAX, ZstdFrames } from "./zstd-frames.ts";

/** For every decoder of what clients have made. */
export const ZSTD_DECODER_PARAMETERS = { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX };

/** Given out at once at the most: what a block holds, at the most. */
const OUTPUT_BYTES = 128 * 1024;

/** The part of node's stream that works without one; it is what its own synchronous functions are made of. */
interface SyncHandle {
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputBytes: number,
    output: Uint8Array,
    outputOffset: number,
    outputBytes: number,
  ): void;
  onerror: (message: string) => void;
  close(): void;
}

/** zstd's own decoder: bytes in, bytes out, nothing kept but its window. */
class Engine {
  readonly #handle: SyncHandle;
  /** Bytes left after a call: room in the output, input that was not looked at. */
  readonly #left: Uint32Array;
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  #failure: string | undefined;

  constructor() {
    const stream = createZstdDecompress({ params: ZSTD_DECODER_PARAMETERS, chunkSize: 64 });
    const { _handle, _writeState } = stream as unknown as { _handle: SyncHandle; _writeState: Uint32Array };
    this.#handle = _handle;
    this.#left = _writeState;
    _handle.onerror = (message) => {
      this.#failure = message;
    };
  }

  /** @param outputBytesMax of one piece. @returns pieces of what it decodes to, each valid until the next. */
  *decode(input: Uint8Array, outputBytesMax: () => number): Generator<Buffer> {
    for (let at = 0; ;) {
      const room = Math.min(OUTPUT_BYTES, outputBytesMax());
      this.#handle.writeSync(constants.ZSTD_e_continue, input, at, input.length - at, this.#output, 0, room);
      if (this.#failure !== undefined) throw invalidZstd(this.#failure);
      const [roomLeft = 0, inputLeft = 0] = this.#left;
      const outputBytes = room - roomLeft;
      const takenBytes = input.length - at - inputLeft;
      at += takenBytes;
      if (outputBytes > 0) yield this.#output.subarray(0, outputBytes);
      // With room left everything that was taken is out.
      if (roomLeft > 0 && inputLeft === 0) return;
      if (outputBytes === 0 && takenBytes === 0) throw invalidZstd("expected it to go on");
    }
  }

  close(): void {
    this.#handle.close();
  }
}

/** Making one costs as much as decoding 100 KB; it is as new once a frame has ended. */
let spare: Engine | undefined;

/**
 * Decodes zstd data of a known size piece by piece, in this thread: several frames, skippable ones among them, and
 * nothing else. However much a piece expands to, it comes out {@link OUTPUT_BYTES} at a time, and never more than one byte
 * past the size is made (HAZARDS H17).
 */
export class ZstdDecoder {
  readonly #sizeBytes: number;
  readonly #isSizeKnown: boolean;
  readonly #frames = new ZstdFrames();
  readonly #engine: Engine;
  #decodedBytes = 0;
  #hasEnded = false;
  /** The engine may be another decoder's by now. */
  #isDisposed = false;

  /**
   * @param sizeBytes that the data must decode to.
   * @param isSizeKnown False where it may be less.
   */
  constructor(sizeBytes: number, isSizeKnown = true) {
    this.#sizeBytes = sizeBytes;
    this.#isSizeKnown = isSizeKnown;
    this.#engine = spare ?? new Engine();
    spare = undefined;
  }

  /**
   * @returns what the piece decodes to, in parts that are valid until the next one.
   * @throws {CacheError} invalid_argument where it is no zstd data, or the size is passed, which is too_large where it may be less.
   */
  *decode(piece: Uint8Array): Generator<Buffer> {
    for (const part of this.#frames.cut(piece)) {
      for (const decoded of this.#engine.decode(part, () => this.#sizeBytes - this.#decodedBytes + 1)) {
        this.#decodedBytes += decoded.length;
        if (this.#decodedBytes > this.#sizeBytes) throw this.#refusedSize();
        yield decoded;
      }
    }
  }

  /** @throws {CacheError} invalid_argument where the data ends too early. */
  end(): void {
    if (!this.#frames.isBetweenFrames) throw invalidZstd("expected the rest of a frame, got its end");
    if (this.#isSizeKnown && this.#decodedBytes !== this.#sizeBytes) {
      throw invalidZstd(`expected it to decode to ${this.#sizeBytes} bytes, got ${this.#decodedBytes}`);
    }
    this.#hasEnded = true;
  }

  #refusedSize(): CacheError {
    if (this.#isSizeKnown) return invalidZstd(`expected it to decode to ${this.#sizeBytes} bytes, got more`);
    return new CacheError("too_large", `body: expected at most ${this.#sizeBytes} bytes when decoded, got more`);
  }

  /** To be called at last, whatever has happened. Calling it twice does nothing. */
  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    // One that has failed, or is within a frame, is of no use any more.
    if (spare === undefined && this.#hasEnded) spare = this.#engine;
    else this.#engine.close();
  }
}

/**
 * What lies in memory, decoded at once.
 * @throws {CacheError} invalid_argument
 */
export function decodeZstd(pieces: readonly Uint8Array[], sizeBytes: number): Buffer {
  using decoder = new ZstdDecoder(sizeBytes);
  const decoded = Buffer.allocUnsafe(sizeBytes);
  let filled = 0;
  for (const piece of pieces) {
    for (const part of decoder.decode(piece)) filled += part.copy(decoded, filled);
  }
  decoder.end();
  return decoded;
}
