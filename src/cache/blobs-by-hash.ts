import type { StagedBlob } from "./blob-store.ts";
import type { RecipeStore } from "./chunking/recipe-store.ts";
import { DIGEST_FUNCTIONS, type Digest, type DigestHash } from "./digest.ts";
import { casHashKey } from "./entry-key.ts";
import type { EntryStore } from "./entry-store.ts";

/** Blobs for protocols that name them by their hashes and tell no sizes. */
export class BlobsByHash {
  readonly #entries: EntryStore;
  readonly #recipes: RecipeStore;

  constructor(entries: EntryStore, recipes: RecipeStore) {
    this.#entries = entries;
    this.#recipes = recipes;
  }

  /**
   * The whole digest of a blob that is there, also where it is there as its chunks only. Renews nothing. No promise
   * where nothing has to be waited for.
   */
  find({ fn, hash }: DigestHash): Promise<Digest | undefined> | Digest | undefined {
    if (hash === DIGEST_FUNCTIONS[fn].emptyHash) return { fn, hash, sizeBytes: 0 };
    const key = casHashKey({ fn, hash });
    const sizeBytes = this.#entries.find(key);
    if (sizeBytes !== undefined) return { fn, hash, sizeBytes };
    if (!this.#recipes.peek(key)) return undefined;
    return this.#recipes
      .findBlobBytes(key)
      .then((bytes) => (bytes === undefined ? bytes : { fn, hash, sizeBytes: bytes }));
  }

  /** Starts an upload of whatever size; the hash is verified by `commit`. Not for the empty blob, which is never stored. */
  stage(name: DigestHash, signal?: AbortSignal): Promise<StagedBlob> | StagedBlob {
    return this.#entries.stage(casHashKey(name), signal === undefined ? {} : { signal });
  }
}
