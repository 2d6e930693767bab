import { digestFunctionOfSpace, type EntryKey, recipeKey } from "../entry-key.ts";
import type { EntryStore } from "../entry-store.ts";
import { GenerationCache } from "../generation-cache.ts";
import { keyBytes } from "../key-words.ts";
import { decodeRecipe, encodeRecipe, type Recipe, recipeBlobBytes } from "./recipe-format.ts";

/** What a chunk of a recipe takes that is kept decoded, and what a recipe takes besides. */
const CHUNK_MEMORY_BYTES = 200;
const RECIPE_MEMORY_BYTES = 512;
const DEFAULT_MEMORY_BYTES_MAX = 32 * 1024 * 1024;

/** The key of a blob, which has a size as well as a hash. */
export interface BlobKey extends EntryKey {
  readonly sizeBytes: number;
}

export type RecipeMemory = GenerationCache<string, Recipe>;

/** Keeps recipes decoded. @param bytesMax 0: none. */
export function recipeMemory(bytesMax = DEFAULT_MEMORY_BYTES_MAX): RecipeMemory {
  return new GenerationCache({ costMax: bytesMax });
}

/** Recipes by the keys of their blobs, over key spaces of the engine: they live as long as they are used, as blobs do. */
export class RecipeStore {
  readonly #entries: EntryStore;
  /** What a recipe says of its blob stays true: it is verified before it is stored. */
  readonly #kept: RecipeMemory;

  /** @param kept May be shared: what is in it is looked at only once the recipe was found in `entries`. */
  constructor(entries: EntryStore, kept = recipeMemory()) {
    this.#entries = entries;
    this.#kept = kept;
  }

  /** Whether there is a recipe of a blob with this hash; renews nothing. */
  peek(blob: EntryKey): boolean {
    return this.#entries.peek(recipeKey(blob));
  }

  /** Size of the blob with this hash, where there is a recipe of it. */
  async findBlobBytes(blob: EntryKey): Promise<number | undefined> {
    const content = await this.#entries.get(recipeKey(blob));
    return content && recipeBlobBytes(await content.bytes());
  }

  /** The recipe is used now: its lease is renewed. That of its chunks is the caller's affair. */
  async get(blob: BlobKey): Promise<Recipe | undefined> {
    if (this.#entries.find(recipeKey(blob), { renew: true }) === undefined) return undefined;
    return this.#kept.get(nameOf(blob)) ?? this.read(blob);
  }

  /** As it is stored now: another thread may have replaced what is kept here. */
  async read(blob: BlobKey): Promise<Recipe | undefined> {
    const content = await this.#entries.get(recipeKey(blob));
    if (content === undefined) return undefined;
    const recipe = decodeRecipe(digestFunctionOfSpace(blob.space), blob.sizeBytes, await content.bytes());
    if (recipe !== undefined) this.#kept.set(nameOf(blob), recipe, memoryBytesOf(recipe));
    return recipe;
  }

  /** @param recipe Of chunks that were seen to be present and to make up the blob. Replaces the one before. */
  async put(blob: BlobKey, recipe: Recipe): Promise<void> {
    const bytes = encodeRecipe(digestFunctionOfSpace(blob.space), blob.sizeBytes, recipe);
    await this.#entries.put(recipeKey(blob), bytes);
    this.#kept.set(nameOf(blob), recipe, memoryBytesOf(recipe));
  }
}

function memoryBytesOf({ chunks }: Recipe): number {
  return RECIPE_MEMORY_BYTES + chunks.length * CHUNK_MEMORY_BYTES;
}

function nameOf({ space, words, sizeBytes }: BlobKey): string {
  return `${space}/${sizeBytes}/${Buffer.from(keyBytes(words)).toString("latin1")}`;
}
