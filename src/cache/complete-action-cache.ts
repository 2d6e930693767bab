import type { ActionCache } from "./action-cache.ts";
import type { BlobStore } from "./blob-store.ts";
import { DigestList } from "./digest-list.ts";
import { type Digest, type DigestHash, digestName } from "./digest.ts";
import { actionName } from "./entry-key.ts";
import { GenerationCache } from "./generation-cache.ts";
import type { OutputReferencesReader } from "./output-references.ts";
import { takeNewDigests } from "./take-new-digests.ts";
import { nextTurn, slices } from "./turns.ts";

export interface CompleteActionCacheOptions {
  /** Distinct blobs behind one action result; one with more is a miss. */
  readonly referencesMax?: number;
  /** Size of one Tree or Directory message, which is decoded in memory; a result with a larger one is a miss. */
  readonly treeBytesMax?: number;
  /** What results were found to refer to; shared where each instance has a cache of its own. Default: one of 64 MiB. */
  readonly memory?: ClosureMemory;
}

/** What an action result was found to refer to. */
interface Closure {
  /** The very bytes of the result: another result of the same action refers to other blobs. */
  readonly actionResult: Uint8Array;
  /** Each once: outputs, Trees, Directories, and every file in them. All but the result is named by its contents. */
  readonly blobs: readonly Digest[];
}

const DEFAULT_REFERENCES_MAX = 1_000_000;
const DEFAULT_TREE_BYTES_MAX = 64 * 1024 * 1024;
const DEFAULT_MEMORY_BYTES_MAX = 64 * 1024 * 1024;
/** What a digest takes in memory, and what a list of them takes besides. */
const DIGEST_MEMORY_BYTES = 160;
const LIST_MEMORY_BYTES = 512;
/** Look-ups made before the event loop gets a turn: about half a millisecond of work. */
const LOOKUPS_PER_TURN = 1024;

/** What results were found to refer to, and what Trees. Nothing in it says that a blob is there. */
export class ClosureMemory {
  readonly closures: GenerationCache<string, Closure>;
  readonly filesOfTrees: GenerationCache<string, readonly Digest[]>;

  /** @param bytesMax 0: each hit reads everything anew. */
  constructor(bytesMax = DEFAULT_MEMORY_BYTES_MAX) {
    const costMax = bytesMax / 2;
    this.closures = new GenerationCache({ costMax });
    this.filesOfTrees = new GenerationCache({ costMax });
  }

  /** What is remembered now takes so much. */
  get bytes(): number {
    return this.closures.cost + this.filesOfTrees.cost;
  }
}

/**
 * A hit means that every blob behind the result is present now and holds a lease (I8): output files, stdout and
 * stderr, each Tree and every file in it, each root directory and everything below it. Whatever is absent, does not
 * decode, or is past a bound makes the entry a miss, so that the client runs the action again.
 *
 * What a result refers to is remembered, and cannot go stale: it follows from the bytes of the result, which are
 * compared, and from blobs, which are named by their contents. Whether all of that is present is looked up each time.
 */
export class CompleteActionCache implements ActionCache {
  readonly #inner: ActionCache;
  readonly #blobs: BlobStore;
  readonly #references: OutputReferencesReader;
  readonly #referencesMax: number;
  readonly #treeBytesMax: number;
  readonly #closures: GenerationCache<string, Closure>;
  readonly #filesOfTrees: GenerationCache<string, readonly Digest[]>;

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
    const { closures, filesOfTrees } = options.memory ?? new ClosureMemory();
    this.#closures = closures;
    this.#filesOfTrees = filesOfTrees;
  }

  get(instanceName: string, action: DigestHash): Promise<Uint8Array | undefined> | Uint8Array | undefined {
    const getting = this.#inner.get(instanceName, action);
    return getting instanceof Promise
      ? getting.then((actionResult) => this.#ifComplete(actionResult, instanceName, action))
      : this.#ifComplete(getting, instanceName, action);
  }

  put(instanceName: string, action: DigestHash, actionResult: Uint8Array): Promise<void> {
    return this.#inner.put(instanceName, action, actionResult);
  }

  #ifComplete(
    actionResult: Uint8Array | undefined,
    instanceName: string,
    action: DigestHash,
  ): Promise<Uint8Array | undefined> | Uint8Array | undefined {
    if (actionResult === undefined) return undefined;
    const name = actionName(instanceName, action);
    const closure = this.#closures.get(name);
    if (closure === undefined || Buffer.compare(closure.actionResult, actionResult) !== 0) {
      return this.#ifFoundComplete(actionResult, name, action);
    }
    if (closure.blobs.length > LOOKUPS_PER_TURN) return this.#ifRenewed(actionResult, closure);
    const renewing = this.#blobs.renewAll(closure.blobs);
    if (renewing instanceof Promise) return renewing.then((areAll) => (areAll ? actionResult : undefined));
    return renewing ? actionResult : undefined;
  }

  async #ifRenewed(actionResult: Uint8Array, { blobs }: Closure): Promise<Uint8Array | undefined> {
    for (const [index, slice] of slices(blobs, LOOKUPS_PER_TURN).entries()) {
      if (index > 0) await nextTurn();
      if (!(await this.#blobs.renewAll(slice))) return undefined;
    }
    return actionResult;
  }

  async #ifFoundComplete(actionResult: Uint8Array, name: string, action: DigestHash): Promise<Uint8Array | undefined> {
    const blobs = await this.#findComplete(actionResult, action);
    if (blobs === undefined) return undefined;
    // In memory of its own: what was read may be a part of something larger.
    const closure = { actionResult: Uint8Array.from(actionResult), blobs };
    this.#closures.set(name, closure, actionResult.length + listMemoryBytes(blobs));
    return actionResult;
  }

  /**
   * Walks down level by level with one look-up for a level. A message is read only after the look-up that renewed
   * its lease, so it cannot be retired in between.
   * @returns everything that is referred to; undefined where some of it is absent.
   */
  async #findComplete(actionResult: Uint8Array, { fn }: DigestHash): Promise<readonly Digest[] | undefined> {
    const named = orUndefined(() => this.#references.ofActionResult(actionResult, fn));
    if (named === undefined) return undefined;
    const checked = new PresenceCheck(this.#blobs, this.#referencesMax);
    if (!(await checked.allPresent([named.blobs, named.trees, named.rootDirectories]))) return undefined;

    const files: (readonly Digest[])[] = [];
    for (const tree of takeNewDigests(named.trees, new Set())) {
      const inTree = await this.#filesOf(tree);
      if (inTree === undefined) return undefined;
      files.push(inTree);
    }
    if (!(await checked.allPresent(files))) return undefined;

    const walked = new Set<string>();
    let level = takeNewDigests(named.rootDirectories, walked);
    while (level.length > 0) {
      const found = await this.#readAll(level, (bytes) => this.#references.ofDirectory(bytes, fn));
      if (found === undefined) return undefined;
      if (!(await checked.allPresent(found.flatMap((d) => [d.files, d.directories])))) return undefined;
      level = found.flatMap((directory) => takeNewDigests(directory.directories, walked));
    }
    return checked.digests;
  }

  /** The files of a Tree that is present. @returns undefined where it is too large or does not decode. */
  async #filesOf(tree: Digest): Promise<readonly Digest[] | undefined> {
    const name = digestName(tree);
    const remembered = this.#filesOfTrees.get(name);
    if (remembered !== undefined) return remembered;
    const [files] = (await this.#readAll([tree], (bytes) => this.#references.ofTree(bytes, tree.fn))) ?? [];
    if (files !== undefined) this.#filesOfTrees.set(name, files, listMemoryBytes(files));
    return files;
  }

  /** @returns undefined where a message is absent, too large, or does not decode. */
  async #readAll<T>(digests: readonly Digest[], decode: (bytes: Uint8Array) => T): Promise<T[] | undefined> {
    const decoded: T[] = [];
    for (const digest of takeNewDigests(digests, new Set())) {
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
  /** What was looked up, in order. */
  readonly digests: Digest[] = [];

  constructor(blobs: BlobStore, digestsMax: number) {
    this.#blobs = blobs;
    this.#digestsMax = digestsMax;
  }

  /** Renews the leases of all that are present. False also once more than the bound were named. */
  async allPresent(groups: readonly (readonly Digest[])[]): Promise<boolean> {
    const unseen = groups.flatMap((digests) => takeNewDigests(digests, this.#seen));
    if (this.#seen.size > this.#digestsMax) return false;
    for (const digest of unseen) this.digests.push(digest);
    return unseen.length === 0 || (await this.#blobs.findMissing(DigestList.of(unseen))).length === 0;
  }
}

function listMemoryBytes(digests: readonly Digest[]): number {
  return LIST_MEMORY_BYTES + digests.length * DIGEST_MEMORY_BYTES;
}

function orUndefined<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}
