import { CacheError } from "./cache-error.ts";

/**
 * Digest functions by their REAPI enum numbers (`DigestFunction.Value`). Those whose names appear in resource names
 * (see resource-name.ts) come after those that the length of the hash tells.
 */
export const DIGEST_FUNCTIONS = {
  sha256: { number: 1, hashBytes: 32, emptyHash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
  sha1: { number: 2, hashBytes: 20, emptyHash: "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
  md5: { number: 3, hashBytes: 16, emptyHash: "d41d8cd98f00b204e9800998ecf8427e" },
  sha384: {
    number: 5,
    hashBytes: 48,
    emptyHash: "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
  },
  sha512: {
    number: 6,
    hashBytes: 64,
    emptyHash:
      "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce" +
      "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
  },
  sha256tree: {
    number: 8,
    hashBytes: 32,
    emptyHash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  },
  blake3: { number: 9, hashBytes: 32, emptyHash: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262" },
  gitsha1: { number: 10, hashBytes: 20, emptyHash: "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" },
} as const;

export type DigestFunctionName = keyof typeof DIGEST_FUNCTIONS;

/** What names a blob where its size is not told, and an action. */
export interface DigestHash {
  readonly fn: DigestFunctionName;
  /** Lower-case hex. */
  readonly hash: string;
}

/** The name of a blob: (function, hash, size) together are the key (HAZARDS H19). */
export interface Digest extends DigestHash {
  readonly sizeBytes: number;
}

const LOWER_HEX = /^[0-9a-f]+$/;

/** What a hash without a function is taken for (BEHAVIOUR 1), by its hex digits. */
const FUNCTION_OF_LENGTH: ReadonlyMap<number, DigestFunctionName> = new Map([
  [32, "md5"],
  [40, "sha1"],
  [64, "sha256"],
  [96, "sha384"],
  [128, "sha512"],
]);

/**
 * Checks a digest that came from a client.
 * @param named Undefined where the client leaves it to the length of the hash to tell the function.
 * @throws {CacheError} invalid_argument naming the field at fault: the hash is not lower-case hex of the
 * function's length, the size is negative or not a safe integer, or exactly one of hash and size is that of the
 * empty blob.
 */
export function parseDigest(hash: string, sizeBytes: number, named?: DigestFunctionName): Digest {
  const { fn } = parseDigestHash(hash, named);
  const { emptyHash } = DIGEST_FUNCTIONS[fn];
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

/** Checks what a client gives of a digest that it knows no size of. @throws {CacheError} as {@link parseDigest} does. */
export function parseDigestHash(hash: string, named?: DigestFunctionName): DigestHash {
  const fn = named ?? functionOfLength(hash.length);
  const { hashBytes } = DIGEST_FUNCTIONS[fn];
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
  return { fn, hash };
}

function functionOfLength(hexDigits: number): DigestFunctionName {
  const fn = FUNCTION_OF_LENGTH.get(hexDigits);
  if (fn !== undefined) return fn;
  const lengths = [...FUNCTION_OF_LENGTH.keys()].join(", ");
  throw new CacheError(
    "invalid_argument",
    `digest.hash: expected ${lengths} lower-case hex digits, got ${hexDigits} characters`,
  );
}

export function isEmptyDigest(digest: Digest): boolean {
  return digest.sizeBytes === 0;
}

/** `fn/hash/size`, as a map key. */
export function digestName(digest: Digest): string {
  return `${digest.fn}/${digestToString(digest)}`;
}

/** `hash/size`, the form used in messages and as a map key within one digest function. */
export function digestToString(digest: Digest): string {
  return `${digest.hash}/${digest.sizeBytes}`;
}
