import { CacheError } from "../cache/cache-error.ts";
import { DIGEST_FUNCTIONS, type Digest, type DigestFunctionName, parseDigest } from "../cache/digest.ts";
import type { Digest as DigestMessage, DigestFunctionNumber } from "./messages.ts";

/**
 * The digest function of a request. 0 leaves it to the server to tell it by the length of the hash; with only one
 * function announced that is the answer, and {@link requestDigest} refuses a hash of another length.
 * @throws {CacheError} invalid_argument for a function that is not supported.
 */
export function requestDigestFunction(digestFunction: DigestFunctionNumber): DigestFunctionName {
  if (digestFunction === 0) return "sha256";
  for (const [name, { number }] of Object.entries(DIGEST_FUNCTIONS)) {
    if (number === digestFunction) return name as DigestFunctionName;
  }
  const supported = Object.entries(DIGEST_FUNCTIONS).map(([name, { number }]) => `${name} (${number})`);
  throw new CacheError(
    "invalid_argument",
    `digest_function: expected 0 or ${supported.join(" or ")}, got ${digestFunction}`,
  );
}

/** Like {@link requestDigest}, for long lists: where they are is told only where something is wrong. */
export function requestDigests(
  field: string,
  firstIndex: number,
  digests: readonly DigestMessage[],
  fn: DigestFunctionName,
): Digest[] {
  return digests.map(({ hash, size_bytes }, place) => {
    try {
      return parseDigest(hash, size_bytes, fn);
    } catch (error) {
      throw renamed(error, `${field}[${firstIndex + place}]`);
    }
  });
}

/**
 * Checks a digest in a request.
 * @param field where it is, such as `requests[3].digest`, for the message of the error.
 * @throws {CacheError} invalid_argument where it is absent or invalid.
 */
export function requestDigest(field: string, digest: DigestMessage | null | undefined, fn: DigestFunctionName): Digest {
  if (digest === null || digest === undefined) {
    throw new CacheError("invalid_argument", `${field}: expected a digest, got none`);
  }
  try {
    return parseDigest(digest.hash, digest.size_bytes, fn);
  } catch (error) {
    throw renamed(error, field);
  }
}

function renamed(error: unknown, field: string): unknown {
  return error instanceof CacheError ? new CacheError(error.code, error.message.replace(/^digest/, field)) : error;
}

export function digestMessage(digest: Digest): DigestMessage {
  return { hash: digest.hash, size_bytes: digest.sizeBytes };
}
