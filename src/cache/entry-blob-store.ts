import type { BlobContent, BlobStore, StagedBlob } from "./blob-store.ts";
import type { Digest } from "./digest.ts";
import { casKey } from "./entry-key.ts";
import type { ByteRange, EntryStore } from "./entry-store.ts";
import { nextTurn, slices } from "./turns.ts";

/** Look-ups made before the event loop gets a turn: about half a millisecond of work. */
const LOOKUPS_PER_TURN = 1024;

/** The content-addressable store over the CAS key spaces of an engine. */
export class EntryBlobStore implements BlobStore {
  readonly #entries: EntryStore;

  constructor(entries: EntryStore) {
    this.#entries = entries;
  }

  peek(digest: Digest): boolean {
    return this.#entries.peek(casKey(digest));
  }

  renewAll(digests: readonly Digest[]): boolean {
    let arePresent = true;
    for (const digest of digests) {
      if (this.#entries.find(casKey(digest), { renew: true }) === undefined) arePresent = false;
    }
    return arePresent;
  }

  async findMissing(digests: readonly Digest[]): Promise<Digest[]> {
    const missing: Digest[] = [];
    for (const [index, slice] of slices(digests, LOOKUPS_PER_TURN).entries()) {
      if (index > 0) await nextTurn();
      for (const digest of slice) {
        if (this.#entries.find(casKey(digest), { renew: true }) === undefined) missing.push(digest);
      }
    }
    return missing;
  }

  get(digest: Digest, range?: ByteRange): Promise<BlobContent | undefined> | BlobContent | undefined {
    return this.#entries.get(casKey(digest), range);
  }

  stage(digest: Digest, signal?: AbortSignal): Promise<StagedBlob> | StagedBlob {
    return this.#entries.stage(casKey(digest), signal === undefined ? {} : { signal });
  }

  put(digest: Digest, bytes: Uint8Array): Promise<void> {
    return this.#entries.put(casKey(digest), bytes);
  }
}
