import { contentHashOf } from "../../src/cache/content-hash.ts";
import type { Digest, DigestFunctionName } from "../../src/cache/digest.ts";
import { type EntryKey, casKey } from "../../src/cache/entry-key.ts";
import type { SeededRandom } from "./seeded-random.ts";

/** Empty, tiny, and one byte around each size at which a store is likely to change its ways. */
export const EDGE_SIZES: readonly number[] = [
  0,
  1,
  ...[4096, 32 * 1024, 64 * 1024, 1024 * 1024].flatMap((size) => [size - 1, size, size + 1]),
  4 * 1024 * 1024,
];

/** A blob together with its names. */
export interface CasContent {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly key: EntryKey;
}

export function digestOf(bytes: Uint8Array, fn: DigestFunctionName = "sha256"): Digest {
  return { fn, hash: Buffer.from(contentHashOf(fn, [bytes])).toString("hex"), sizeBytes: bytes.length };
}

export function contentOf(bytes: Uint8Array, fn?: DigestFunctionName): CasContent {
  const digest = digestOf(bytes, fn);
  return { bytes: Buffer.from(bytes), digest, key: casKey(digest) };
}

export function randomContent(random: SeededRandom, sizeBytes: number, fn?: DigestFunctionName): CasContent {
  return contentOf(random.bytes(sizeBytes), fn);
}

export function randomContents(random: SeededRandom, sizes: readonly number[], fn?: DigestFunctionName): CasContent[] {
  return sizes.map((sizeBytes) => randomContent(random, sizeBytes, fn));
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const collected: Uint8Array[] = [];
  for await (const chunk of chunks) collected.push(chunk);
  return Buffer.concat(collected);
}
