/**
 * RFC 9113, section 4.1:
 *
 *     byte   0   1   2    3      4     5   6   7   8    9 …
 *          ┌───────────┬──────┬───────┬───────────────┬─────────
 *          │  length   │ type │ flags │ R  stream id  │ payload
 *          └───────────┴──────┴───────┴───────────────┴─────────
 */
export const FRAME_HEADER_BYTES = 9;

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const FLAG = {
  endStream: 0x1,
  ack: 0x1,
  endHeaders: 0x4,
  padded: 0x8,
  priority: 0x20,
} as const;

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** What every peer takes without being asked (section 6.5.2). */
export const FRAME_BYTES_MAX_DEFAULT = 16_384;
export const HEADER_TABLE_BYTES_DEFAULT = 4096;
export const FRAME_BYTES_MAX_LIMIT = 0xff_ffff;
export const WINDOW_BYTES_DEFAULT = 65_535;
export const WINDOW_BYTES_LIMIT = 0x7fff_ffff;
export const STREAM_ID_MAX = 0x7fff_ffff;

export const PING_BYTES = 8;
export const PRIORITY_BYTES = 5;
const WORD_BYTES = 4;

/** Writes the 9 bytes at `at`. @returns where the payload begins. */
export function writeFrameHeader(
  into: Buffer,
  at: number,
  lengthBytes: number,
  type: number,
  flags: number,
  streamId: number,
): number {
  into[at] = lengthBytes >>> 16;
  into[at + 1] = lengthBytes >>> 8;
  into[at + 2] = lengthBytes;
  into[at + 3] = type;
  into[at + 4] = flags;
  return writeWord(into, at + 5, streamId);
}

/** @returns where the next byte belongs. */
export function writeWord(into: Buffer, at: number, value: number): number {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
  return at + WORD_BYTES;
}

/** An unsigned 32-bit number. */
export function readWord(from: Buffer, at: number): number {
  return ((from[at]! << 24) | (from[at + 1]! << 16) | (from[at + 2]! << 8) | from[at + 3]!) >>> 0;
}

/** A stream identifier or a window increment: the highest bit is reserved and ignored. */
export function readWord31(from: Buffer, at: number): number {
  return ((from[at]! << 24) | (from[at + 1]! << 16) | (from[at + 2]! << 8) | from[at + 3]!) & 0x7fff_ffff;
}
