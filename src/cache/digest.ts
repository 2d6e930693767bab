import { CacheError } from "./cache-error.ts";

/** Digest functions by their REAPI enum numbers (`DigestFunction.Value`). */
export const DIGEST_FUNCTIONS = {
  sha256: { number: 1, hashBytes: 32, emptyHash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
} as const;

export type DigestFunctionName = keyof typeof DIGEST_FUNCTIONS;

/** The name of a blob: (function, hash, size) together are the key (HAZARDS H19). */
export interface Digest {
  readonly fn: DigestFunctionName;
  /** Lower-case hex. */
  readonly hash: string;
  readonly sizeBytes: number;
}

const LOWER_HEX = /^[0-9a-f]+$/;

/**
 * Checks a digest that came from a client.
 * @throws {CacheError} invalid_argument naming the field at fault: the hash is not lower-case hex of the
 * function's length, the size is negative or not a safe integer, or exactly one of hash and size is that of the
 * empty blob.
 */
export function parseDigest(hash: string, sizeBytes: number, fn: DigestFunctionName = "sha256"): Digest {
  const { hashBytes, emptyHash } = DIGEST_FUNCTIONS[fn];
  if (hash.length !== hashBytes * 2) {
    throw new CacheError(
      "invalid_argument",
      `digest.hash: expected ${hashBytes * 2} lower-case hex digits for ${fn}, got ${hash.length} characters`,
    );
  }
  if (!LOWER_HEX.test(hash)) {
    throw new CacheError(
      "invalid_argument",
      `digest.hash: expected lower-case hex digits, got ${JSON.stringify(hash)}`,
    );
  }
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw new CacheError("invalid_argument", `digest.size_bytes: expected a size from 0 up, got ${sizeBytes}`);
  }
  if ((sizeBytes === 0) !== (hash === emptyHash)) {
    throw new CacheError(
      "invalid_argument",
      sizeBytes === 0
        ? `digest.hash: expected the hash of the empty blob ${emptyHash} for size 0, got ${hash}`
        : `digest.size_bytes: expected 0 for the hash of the empty blob, got ${sizeBytes}`,
    );
  }
  return { fn, hash, sizeBytes };
}

export function isEmptyDigest(digest: Digest): boolean {
  return digest.sizeBytes === 0;
}

/** `hash/size`, the form used in messages and as a map key within one digest function. */
export function digestToString(digest: Digest): string {
  return `${digest.hash}/${digest.sizeBytes}`;
}
