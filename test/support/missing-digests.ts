import type { BlobStore } from "../../src/cache/blob-store.ts";
import type { Digest } from "../../src/cache/digest.ts";
import { DigestList } from "../../src/cache/digest-list.ts";

/** The digests that are absent, in the order asked. */
export async function missingDigests(store: BlobStore, digests: readonly Digest[]): Promise<(Digest | undefined)[]> {
  const positions = await store.findMissing(DigestList.of(digests));
  return positions.map((position) => digests[position]);
}
