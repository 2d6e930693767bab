/**
 * How the bytes of a value are written down: as they are, or as zstd frames (RFC 8878). The numbers stand in every record
 * on disk and are never reused.
 */
export const ENCODINGS = { identity: 0, zstd: 1 } as const;

export type Encoding = keyof typeof ENCODINGS;

/** How blobs are to lie on disk. */
export type AtRest = "as-uploaded" | Encoding;

/** @returns undefined for a number that a later version may have written. */
export function encodingNumbered(number: number): Encoding | undefined {
  return NAMES[number];
}

const NAMES = Object.keys(ENCODINGS) as Encoding[];

/**
 * Bytes that an encoding of so many may take, at the most: what an encoder adds to data that it cannot shrink, written in
 * small blocks, and room for a few frames that mean nothing.
 */
export function encodedBytesMax(sizeBytes: number): number {
  return sizeBytes + Math.ceil(sizeBytes / 64) + 64 * 1024;
}
