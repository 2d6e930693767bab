import { CacheError } from "../cache/cache-error.ts";
import { DIGEST_FUNCTIONS, type Digest, type DigestFunctionName, parseDigest } from "../cache/digest.ts";
import type { Digest as DigestMessage, DigestFunctionNumber } from "./messages.ts";

/**
 * The digest function of a request; undefined where the client leaves it to the server to tell it by the length of
 * each hash.
 * @throws {CacheError} invalid_argument for a function that is not supported.
 */
export function requestDigestFunction(digestFunction: DigestFunctionNumber): DigestFunctionName | undefined {
  if (digestFunction === 0) return undefined;
  for (const [name, { number }] of Object.entries(DIGEST_FUNCTIONS)) {
    if (number === digestFunction) return name as DigestFunctionName;
  }
  const supported = Object.entries(DIGEST_FUNCTIONS).map(([name, { number }]) => `${name} (${number})`);
  throw new CacheError(
    "invalid_argument",
    `digest_function: expected 0 or ${supported.join(" or ")}, got ${digestFunction}`,
  );
}

/**
 * Checks a digest in a request.
 * @param field where it is, such as `requests[3].digest`, for the message of the error.
 * @throws {CacheError} invalid_argument where it is absent or invalid.
 */
export function requestDigest(
  field: string,
  digest: DigestMessage | null | undefined,
  fn: DigestFunctionName | undefined,
): Digest {
  if (digest === null || digest === undefined) {
    throw new CacheError("invalid_argument", `${field}: expected a digest, got none`);
  }
  try {
    return parseDigest(digest.hash, digest.size_bytes, fn);
  } catch (error) {
    if (!(error instanceof CacheError)) throw error;
    throw new CacheError(error.code, error.message.replace(/^digest/, field));
  }
}

export function digestMessage(digest: Digest): DigestMessage {
  return { hash: digest.hash, size_bytes: digest.sizeBytes };
}
