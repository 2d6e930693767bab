import type { ActionCache } from "../cache/action-cache.ts";
import type { BlobStore } from "../cache/blob-store.ts";
import { BlobChunker } from "../cache/chunking/blob-chunker.ts";
import { CHUNKINGS } from "../cache/chunking/chunking.ts";
import type { ContentScanner } from "../cache/chunking/content-scanner.ts";
import { recipeMemory, RecipeStore } from "../cache/chunking/recipe-store.ts";
import { ClosureMemory, CompleteActionCache } from "../cache/complete-action-cache.ts";
import { EmptyBlobStore } from "../cache/empty-blob-store.ts";
import { EntryActionCache } from "../cache/entry-action-cache.ts";
import { EntryBlobStore } from "../cache/entry-blob-store.ts";
import type { EntryStore } from "../cache/entry-store.ts";
import { GenerationCache } from "../cache/generation-cache.ts";
import { InstanceEntryStore } from "../cache/instance-entry-store.ts";
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
  readonly scanner: ContentScanner;
  readonly references: OutputReferencesReader;
}

/** Instances whose parts are kept, which are small; those of another one are made anew when it comes again. */
const INSTANCES_MAX = 1024;

/** The caches of all instances: the same one, or one each, which clients need not set up. */
export class InstanceCaches {
  readonly #options: InstanceCachesOptions;
  /** What is remembered holds for every instance; whether a blob is there is looked up in the instance's own store. */
  readonly #closures = new ClosureMemory();
  readonly #recipes = recipeMemory();
  readonly #own = new GenerationCache<string, InstanceCache>({ costMax: INSTANCES_MAX });
  readonly #shared: InstanceCache | undefined;

  constructor(options: InstanceCachesOptions) {
    this.#options = options;
    this.#shared = options.scope === "shared" ? this.#make(options.entries) : undefined;
  }

  get areShared(): boolean {
    return this.#shared !== undefined;
  }

  of(instanceName: string): InstanceCache {
    if (this.#shared !== undefined) return this.#shared;
    const known = this.#own.get(instanceName);
    if (known !== undefined) return known;
    const made = this.#make(new InstanceEntryStore(this.#options.entries, instanceName));
    this.#own.set(instanceName, made, 1);
    return made;
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
