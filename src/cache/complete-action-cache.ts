import type { ActionCache } from "./action-cache.ts";
import type { BlobStore } from "./blob-store.ts";
import { type Digest, digestToString } from "./digest.ts";
import type { OutputReferencesReader } from "./output-references.ts";

export interface CompleteActionCacheOptions {
  /** Distinct blobs behind one action result; one with more is a miss. */
  readonly referencesMax?: number;
  /** Size of one Tree or Directory message, which is decoded in memory; a result with a larger one is a miss. */
  readonly treeBytesMax?: number;
}

const DEFAULT_REFERENCES_MAX = 1_000_000;
const DEFAULT_TREE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * A hit means that every blob behind the result is present now and holds a lease (I8): output files, stdout and
 * stderr, each Tree and every file in it, each root directory and everything below it. Whatever is absent, does not
 * decode, or is past a bound makes the entry a miss, so that the client runs the action again.
 */
export class CompleteActionCache implements ActionCache {
  readonly #inner: ActionCache;
  readonly #blobs: BlobStore;
  readonly #references: OutputReferencesReader;
  readonly #referencesMax: number;
  readonly #treeBytesMax: number;

  constructor(
    inner: ActionCache,
    blobs: BlobStore,
    references: OutputReferencesReader,
    options: CompleteActionCacheOptions = {},
  ) {
    this.#inner = inner;
    this.#blobs = blobs;
    this.#references = references;
    this.#referencesMax = options.referencesMax ?? DEFAULT_REFERENCES_MAX;
    this.#treeBytesMax = options.treeBytesMax ?? DEFAULT_TREE_BYTES_MAX;
  }

  async get(instanceName: string, action: Digest): Promise<Uint8Array | undefined> {
    const actionResult = await this.#inner.get(instanceName, action);
    if (actionResult === undefined) return undefined;
    return (await this.#isComplete(actionResult, action)) ? actionResult : undefined;
  }

  put(instanceName: string, action: Digest, actionResult: Uint8Array): Promise<void> {
    return this.#inner.put(instanceName, action, actionResult);
  }

  /**
   * Walks down level by level with one look-up for a level. A message is read only after the look-up that renewed
   * its lease, so it cannot be retired in between.
   */
  async #isComplete(actionResult: Uint8Array, { fn }: Digest): Promise<boolean> {
    const named = orUndefined(() => this.#references.ofActionResult(actionResult, fn));
    if (named === undefined) return false;
    const checked = new PresenceCheck(this.#blobs, this.#referencesMax);
    if (!(await checked.allPresent([named.blobs, named.trees, named.rootDirectories]))) return false;

    const files = await this.#readAll(named.trees, (bytes) => this.#references.ofTree(bytes, fn));
    if (files === undefined || !(await checked.allPresent(files))) return false;

    const walked = new Set<string>();
    let level = takeNew(named.rootDirectories, walked);
    while (level.length > 0) {
      const found = await this.#readAll(level, (bytes) => this.#references.ofDirectory(bytes, fn));
      if (found === undefined) return false;
      if (!(await checked.allPresent(found.flatMap((d) => [d.files, d.directories])))) return false;
      level = found.flatMap((directory) => takeNew(directory.directories, walked));
    }
    return true;
  }

  /** @returns undefined where a message is absent, too large, or does not decode. */
  async #readAll<T>(digests: readonly Digest[], decode: (bytes: Uint8Array) => T): Promise<T[] | undefined> {
    const decoded: T[] = [];
    for (const digest of takeNew(digests, new Set())) {
      if (digest.sizeBytes > this.#treeBytesMax) return undefined;
      const content = await this.#blobs.get(digest);
      if (content === undefined) return undefined;
      const bytes = await content.bytes();
      const value = orUndefined(() => decode(bytes));
      if (value === undefined) return undefined;
      decoded.push(value);
    }
    return decoded;
  }
}

/** Looks each digest up once, however often it is named. */
class PresenceCheck {
  readonly #blobs: BlobStore;
  readonly #digestsMax: number;
  readonly #seen = new Set<string>();

  constructor(blobs: BlobStore, digestsMax: number) {
    this.#blobs = blobs;
    this.#digestsMax = digestsMax;
  }

  /** Renews the leases of all that are present. False also once more than the bound were named. */
  async allPresent(groups: readonly (readonly Digest[])[]): Promise<boolean> {
    const unseen = groups.flatMap((digests) => takeNew(digests, this.#seen));
    if (this.#seen.size > this.#digestsMax) return false;
    return unseen.length === 0 || (await this.#blobs.findMissing(unseen)).length === 0;
  }
}

/** The digests that are not in `seen` yet, and adds them to it. */
function takeNew(digests: readonly Digest[], seen: Set<string>): Digest[] {
  return digests.filter((digest) => {
    const name = digestToString(digest);
    if (seen.has(name)) return false;
    seen.add(name);
    return true;
  });
}

function orUndefined<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}
