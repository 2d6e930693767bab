import { CacheError } from "../cache-error.ts";

/**
 * Where zstd frames begin and end (RFC 8878, all integers little-endian), which node:zlib does not tell: it takes the end
 * of the first frame for the end of the data, whatever follows.
 *
 *   frame       magic 4 · descriptor 1 · window, dictionary id, content size 1 to 13 · blocks · checksum 0 or 4
 *   block       header 3 (bit 0: the last one · bits 1-2: type · the rest: size) · content
 *   skippable   magic 0x184d2a50 to 0x184d2a5f · size 4 · so many bytes, which mean nothing
 */
const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const MAGIC_BYTES = 4;
const BLOCK_HEADER_BYTES = 3;
const CHECKSUM_BYTES = 4;
/** By the lowest two bits of the descriptor. */
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
/** By the highest two bits of the descriptor. */
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
/** Types of a block: raw, run length, compressed, reserved. */
const RUN_LENGTH_BLOCK = 1;
const RESERVED_BLOCK = 3;

/**
 * A frame that asks its reader for more memory is refused. The format wants 8 MiB from every decoder; encoders that trade
 * speed for size take up to this.
 */
export const WINDOW_LOG_MAX = 24;

/** What is gathered next, or passed by, if that is `content`. */
type Part = "magic" | "skippable size" | "descriptor" | "frame header" | "block header" | "content" | "skipped";

/** Walks over zstd data that comes in pieces of any size, from block to block. It decodes nothing. */
export class ZstdFrames {
  #part: Part = "magic";
  readonly #head = Buffer.alloc(16);
  #gathered = 0;
  /** Bytes of the part that are still to come. */
  #left = MAGIC_BYTES;
  #descriptor = 0;
  #isLastBlock = false;

  /** Whether the data may end here. */
  get isBetweenFrames(): boolean {
    return this.#part === "magic" && this.#gathered === 0;
  }

  /**
   * Cuts the next piece so that no part holds bytes of two frames, and leaves out skippable frames.
   * @throws {CacheError} invalid_argument where it is no zstd data.
   */
  *cut(piece: Uint8Array): Generator<Uint8Array> {
    let start = 0;
    for (let at = 0; at < piece.length;) {
      const take = Math.min(this.#left, piece.length - at);
      if (this.#part !== "content" && this.#part !== "skipped") this.#gather(piece.subarray(at, at + take));
      at += take;
      this.#left -= take;
      if (this.#left > 0) break;
      const ended = this.#part;
      const magicBytesBefore =
        ended === "magic" ? this.#head.subarray(0, Math.max(0, MAGIC_BYTES - (at - start))) : NONE;
      this.#next();
      // The first bytes of a magic number may have come in the piece before, when it was not known yet what they begin.
      if (this.#part === "descriptor" && magicBytesBefore.length > 0) yield Buffer.from(magicBytesBefore);
      if (ended === "magic" && this.#part === "skippable size") start = at;
      if (ended === "skippable size" || ended === "skipped") start = at;
      if (this.isBetweenFrames && at > start) {
        yield piece.subarray(start, at);
        start = at;
      }
    }
    const isHeldBack = this.#part === "magic" || this.#part === "skippable size" || this.#part === "skipped";
    if (!isHeldBack && start < piece.length) yield piece.subarray(start);
  }

  #gather(bytes: Uint8Array): void {
    this.#head.set(bytes, this.#gathered);
    this.#gathered += bytes.length;
  }

  /** The part is complete: what comes behind it? */
  #next(): void {
    const head = this.#head;
    switch (this.#part) {
      case "magic": {
        const magic = head.readUInt32LE(0);
        if (magic === FRAME_MAGIC) return this.#expect("descriptor", 1);
        if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) return this.#expect("skippable size", 4);
        throw invalidZstd(`expected a frame, got 0x${magic.toString(16)}`);
      }
      case "skippable size": {
        const skippedBytes = head.readUInt32LE(0);
        return skippedBytes === 0 ? this.#expect("magic", MAGIC_BYTES) : this.#expect("skipped", skippedBytes);
      }
      case "descriptor":
        return this.#expect("frame header", this.#frameHeaderBytes(head.readUInt8(0)));
      case "frame header":
        this.#checkWindow();
        return this.#expect("block header", BLOCK_HEADER_BYTES);
      case "block header": {
        const header = head.readUIntLE(0, BLOCK_HEADER_BYTES);
        const type = (header >>> 1) & 3;
        if (type === RESERVED_BLOCK) throw invalidZstd("a block of a reserved type");
        this.#isLastBlock = (header & 1) === 1;
        const contentBytes = type === RUN_LENGTH_BLOCK ? 1 : header >>> 3;
        return contentBytes === 0 ? this.#endBlock() : this.#expect("content", contentBytes);
      }
      case "content":
        return this.#endBlock();
      case "skipped":
        return this.#expect("magic", MAGIC_BYTES);
    }
  }

  #frameHeaderBytes(descriptor: number): number {
    this.#descriptor = descriptor;
    return (this.#isSingleSegment ? 0 : 1) + DICTIONARY_ID_BYTES[descriptor & 3]! + this.#contentSizeBytes;
  }

  get #isSingleSegment(): boolean {
    return (this.#descriptor & 0x20) !== 0;
  }

  /** Bytes of the field. Without a window it is there, of one byte at the least. */
  get #contentSizeBytes(): number {
    const flag = this.#descriptor >>> 6;
    return flag === 0 && this.#isSingleSegment ? 1 : CONTENT_SIZE_BYTES[flag]!;
  }

  /** zstd looks at it only where it does not get the whole frame at once: here it does not depend on the pieces. */
  #checkWindow(): void {
    const windowBytes = this.#isSingleSegment ? this.#contentBytes() : windowBytesOf(this.#head.readUInt8(0));
    if (windowBytes > 2 ** WINDOW_LOG_MAX) {
      throw invalidZstd(`expected a window of at most ${2 ** WINDOW_LOG_MAX} bytes, got ${windowBytes}`);
    }
  }

  /** What a frame without a window says that it decodes to. */
  #contentBytes(): number {
    const at = DICTIONARY_ID_BYTES[this.#descriptor & 3]!;
    switch (this.#contentSizeBytes) {
      case 1:
        return this.#head.readUInt8(at);
      case 2:
        return this.#head.readUInt16LE(at) + 256;
      case 4:
        return this.#head.readUInt32LE(at);
      default:
        return Number(this.#head.readBigUInt64LE(at));
    }
  }

  #endBlock(): void {
    if (!this.#isLastBlock) return this.#expect("block header", BLOCK_HEADER_BYTES);
    this.#isLastBlock = false;
    if ((this.#descriptor & 4) === 0) return this.#expect("magic", MAGIC_BYTES);
    this.#descriptor = 0;
    // Passed by like the content of a last block.
    this.#isLastBlock = true;
    this.#expect("content", CHECKSUM_BYTES);
  }

  #expect(part: Part, bytes: number): void {
    this.#part = part;
    this.#gathered = 0;
    this.#left = bytes;
  }
}

/** Three bits of the descriptor are eighths, five are the power of two. */
function windowBytesOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3));
  return base + (base / 8) * (descriptor & 7);
}

const NONE = Buffer.alloc(0);

export function invalidZstd(reason: string): CacheError {
  return new CacheError("invalid_argument", `zstd data: ${reason}`);
}
