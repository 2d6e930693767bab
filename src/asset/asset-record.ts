import { DIGEST_FUNCTIONS, type Digest, type DigestFunctionName, parseDigest } from "../cache/digest.ts";
import type { Asset } from "./asset.ts";

/**
 * How an asset is stored: JSON, because it is small, rare, and read by people who look for a fault.
 *
 *     {"version":1,"fn":"sha256","digest":[hash,size],"storedAtMs":N,"expireAtMs":N|null,
 *      "blobs":[[hash,size]...],"directories":[[hash,size]...]}
 */
const VERSION = 1;

export function encodeAsset({ digest, storedAtMs, expireAtMs, blobs, directories }: Asset): Uint8Array {
  const record = {
    version: VERSION,
    fn: digest.fn,
    digest: pair(digest),
    storedAtMs,
    expireAtMs: expireAtMs ?? null,
    blobs: blobs.map(pair),
    directories: directories.map(pair),
  };
  return Buffer.from(JSON.stringify(record));
}

/** @returns undefined where it is no record of this version. */
export function decodeAsset(bytes: Uint8Array): Asset | undefined {
  try {
    const record = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
    const { version, fn, storedAtMs, expireAtMs } = record;
    if (version !== VERSION || !isFunctionName(fn) || !isTime(storedAtMs)) return undefined;
    if (expireAtMs !== null && !isTime(expireAtMs)) return undefined;
    return {
      digest: digestOf(record["digest"], fn),
      storedAtMs,
      expireAtMs: expireAtMs ?? undefined,
      blobs: digestsOf(record["blobs"], fn),
      directories: digestsOf(record["directories"], fn),
    };
  } catch {
    return undefined;
  }
}

function pair({ hash, sizeBytes }: Digest): [string, number] {
  return [hash, sizeBytes];
}

function digestsOf(pairs: unknown, fn: DigestFunctionName): Digest[] {
  if (!Array.isArray(pairs)) throw new TypeError(`digests: expected an array, got ${typeof pairs}`);
  return pairs.map((item) => digestOf(item, fn));
}

function digestOf(item: unknown, fn: DigestFunctionName): Digest {
  if (!Array.isArray(item)) throw new TypeError(`digest: expected a pair, got ${typeof item}`);
  const [hash, sizeBytes] = item as unknown[];
  return parseDigest(String(hash), Number(sizeBytes), fn);
}

function isFunctionName(fn: unknown): fn is DigestFunctionName {
  return typeof fn === "string" && Object.hasOwn(DIGEST_FUNCTIONS, fn);
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}
