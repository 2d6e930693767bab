import { createHash, hash } from "node:crypto";
import { CAS_SPACE_BASE } from "../cache/entry-key.ts";
import { DIGEST_FUNCTIONS } from "../cache/digest.ts";

/** Hashes pieces that come one after the other. */
export interface ContentHash {
  update(piece: Uint8Array): void;
  digest(): Uint8Array;
}

const ALGORITHM_OF_SPACE = new Map(
  Object.entries(DIGEST_FUNCTIONS).map(([name, { number }]) => [CAS_SPACE_BASE + number, name]),
);

function algorithmOfSpace(space: number): string {
  const algorithm = ALGORITHM_OF_SPACE.get(space);
  if (algorithm === undefined) throw new Error(`key space ${space}: no digest function`);
  return algorithm;
}

/** The hash that verifies entries of a content-addressed key space. */
export function createContentHash(space: number): ContentHash {
  return createHash(algorithmOfSpace(space));
}

/**
 * The hash of a value that lies in `pieces`.
 * @param onHashed gets each piece while it is in the processor's cache.
 */
export function contentHashOf(
  space: number,
  pieces: readonly Uint8Array[],
  onHashed: (piece: Uint8Array) => void,
): Uint8Array {
  const [first, ...others] = pieces;
  if (first !== undefined && others.length === 0) {
    const digest = hash(algorithmOfSpace(space), first, "buffer");
    onHashed(first);
    return digest;
  }
  const running = createContentHash(space);
  for (const piece of pieces) {
    running.update(piece);
    onHashed(piece);
  }
  return running.digest();
}
