import type { ActionCache } from "../cache/action-cache.ts";
import type { BlobStore } from "../cache/blob-store.ts";
import { BlobChunker } from "../cache/chunking/blob-chunker.ts";
import { CHUNKINGS } from "../cache/chunking/chunking.ts";
import type { ContentScanner } from "../cache/chunking/content-scanner.ts";
import { type RecipeMemory, recipeMemory, RecipeStore } from "../cache/chunking/recipe-store.ts";
import { ClosureMemory, CompleteActionCache } from "../cache/complete-action-cache.ts";
import { EmptyBlobStore } from "../cache/empty-blob-store.ts";
import { EntryActionCache } from "../cache/entry-action-cache.ts";
import { EntryBlobStore } from "../cache/entry-blob-store.ts";
import type { EntryStore } from "../cache/entry-store.ts";
import { GenerationCache } from "../cache/generation-cache.ts";
import type { OwnerRegister } from "../cache/entry-owner.ts";
import { InstanceEntryStore } from "../cache/instance-entry-store.ts";
import { OwnedEntryStore } from "../cache/owned-entry-store.ts";
import type { OutputReferencesReader } from "../cache/output-references.ts";
import { SplicedBlobStore } from "../cache/spliced-blob-store.ts";

/** The cache as the clients of an instance have it; nothing of it is counted. */
export interface InstanceCache {
  readonly entries: EntryStore;
  readonly recipes: RecipeStore;
  readonly blobs: BlobStore;
  readonly actions: ActionCache;
  readonly chunker: BlobChunker;
}

export interface InstanceCachesOptions {
  readonly entries: EntryStore;
  /** shared: all instances have one; instance: each has its own blobs. */
  readonly scope: "shared" | "instance";
  /** Where accounts are kept of what is stored for whom. */
  readonly owners: OwnerRegister | undefined;
  readonly scanner: ContentScanner;
  readonly references: OutputReferencesReader;
  /** For what action results were found to refer to, and half as much for recipes of spliced blobs. 0: all is read anew. */
  readonly rememberedBytesMax: number;
}

/** Instances whose parts are kept, which are small; those of another one are made anew when it comes again. */
const INSTANCES_MAX = 1024;

/** The caches of all instances: the same one, or one each, which clients need not set up: for its blobs or its account. */
export class InstanceCaches {
  readonly #options: InstanceCachesOptions;
  /** What is remembered holds for every instance; whether a blob is there is looked up in the instance's own store. */
  readonly #closures: ClosureMemory;
  readonly #recipes: RecipeMemory;
  readonly #own = new GenerationCache<string, InstanceCache>({ costMax: INSTANCES_MAX });
  readonly #shared: InstanceCache | undefined;

  constructor(options: InstanceCachesOptions) {
    this.#options = options;
    const { entries, scope, owners, rememberedBytesMax } = options;
    this.#closures = new ClosureMemory(rememberedBytesMax);
    this.#recipes = recipeMemory(rememberedBytesMax / 2);
    this.#shared = scope === "shared" && owners === undefined ? this.#make(entries) : undefined;
  }

  get areShared(): boolean {
    return this.#shared !== undefined;
  }

  of(instanceName: string): InstanceCache {
    if (this.#shared !== undefined) return this.#shared;
    const known = this.#own.get(instanceName);
    if (known !== undefined) return known;
    const { entries, scope } = this.#options;
    const accounted = this.accountFor(entries, instanceName);
    const made = this.#make(scope === "shared" ? accounted : new InstanceEntryStore(accounted, instanceName));
    this.#own.set(instanceName, made, 1);
    return made;
  }

  /** What is stored by it is on the account of the instance, if there are accounts. */
  accountFor(entries: EntryStore, instanceName: string): EntryStore {
    const { owners } = this.#options;
    return owners === undefined ? entries : new OwnedEntryStore(entries, owners, instanceName);
  }

  /** Something that each cache has one of, made when it is first asked for. */
  each<Part>(make: (cache: InstanceCache) => Part): (instanceName: string) => Part {
    if (this.#shared !== undefined) {
      const only = make(this.#shared);
      return () => only;
    }
    const parts = new WeakMap<InstanceCache, { readonly part: Part }>();
    return (instanceName) => {
      const cache = this.of(instanceName);
      const known = parts.get(cache);
      if (known !== undefined) return known.part;
      const part = make(cache);
      parts.set(cache, { part });
      return part;
    };
  }

  #make(entries: EntryStore): InstanceCache {
    const { scanner, references } = this.#options;
    const whole = new EntryBlobStore(entries);
    const recipes = new RecipeStore(entries, this.#recipes);
    const spliced = new SplicedBlobStore(whole, recipes);
    const blobs = new EmptyBlobStore(spliced);
    const chunker = new BlobChunker({ whole, blobs: spliced, recipes, scanner, chunkings: CHUNKINGS });
    const actions = new CompleteActionCache(new EntryActionCache(entries), blobs, references, {
      memory: this.#closures,
    });
    return { entries, recipes, blobs, actions, chunker };
  }
}
