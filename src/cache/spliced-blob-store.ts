import type { BlobContent, BlobPut, BlobStore, DetachedBlob, StagedBlob } from "./blob-store.ts";
import { CacheError } from "./cache-error.ts";
import type { Recipe } from "./chunking/recipe-format.ts";
import type { BlobKey, RecipeStore } from "./chunking/recipe-store.ts";
import { DigestList } from "./digest-list.ts";
import { type Digest, digestToString } from "./digest.ts";
import type { Encoding } from "./encoding.ts";
import { casKey, casSpace } from "./entry-key.ts";
import type { ByteRange } from "./entry-store.ts";
import { KEY_WORDS } from "./key-words.ts";
import { nextTurn } from "./turns.ts";

/** Look-ups made before the event loop gets a turn. */
const LOOKUPS_PER_TURN = 1024;

/**
 * Blobs that are there as their chunks only:
 *
 *     recipe of A ──► chunk 1   chunk 2   chunk 3
 *     recipe of B ──► chunk 1   chunk 4   chunk 3      chunks are blobs of their own, and shared
 *
 * Such a blob is present while its recipe and every one of its chunks are, and using it uses all of them. Where it is
 * there whole as well, the whole one is read.
 */
export class SplicedBlobStore implements BlobStore {
  readonly #whole: BlobStore;
  readonly #recipes: RecipeStore;

  constructor(whole: BlobStore, recipes: RecipeStore) {
    this.#whole = whole;
    this.#recipes = recipes;
  }

  /** True also where the recipe is there and some of its chunks are not: to see that would take a read. */
  peek(digest: Digest): boolean {
    return this.#whole.peek(digest) || this.#recipes.peek(casKey(digest));
  }

  renewAll(digests: readonly Digest[]): Promise<boolean> | boolean {
    const renewing = this.#whole.renewAll(digests);
    return renewing === true || this.#renewAll(digests, renewing);
  }

  async findMissing(digests: DigestList): Promise<number[]> {
    const notWhole = await this.#whole.findMissing(digests);
    const missing: number[] = [];
    const space = casSpace(digests.fn);
    for (const [index, position] of notWhole.entries()) {
      if (index > 0 && index % LOOKUPS_PER_TURN === 0) await nextTurn();
      const words = digests.words.subarray(position * KEY_WORDS, (position + 1) * KEY_WORDS);
      const key = { space, words, sizeBytes: digests.sizes[position] ?? 0 };
      // Most have no recipe, which costs no promise.
      if (!this.#recipes.peek(key) || (await this.findRecipe(key)) === undefined) missing.push(position);
    }
    return missing;
  }

  get(
    digest: Digest,
    range?: ByteRange,
    accept?: Encoding,
  ): Promise<BlobContent | undefined> | BlobContent | undefined {
    const getting = this.#whole.get(digest, range, accept);
    return getting instanceof Promise
      ? getting.then((whole) => whole ?? this.#getSpliced(digest, range))
      : (getting ?? this.#getSpliced(digest, range));
  }

  /** Of those that are there whole. */
  prefetch(digests: readonly Digest[]): void {
    this.#whole.prefetch(digests);
  }

  stage(digest: Digest, signal?: AbortSignal, encoding?: Encoding): Promise<StagedBlob> | StagedBlob {
    return this.#whole.stage(digest, signal, encoding);
  }

  attach(digest: Digest, detached: DetachedBlob): Promise<StagedBlob> {
    return this.#whole.attach(digest, detached);
  }

  put(digest: Digest, bytes: Uint8Array): Promise<void> {
    return this.#whole.put(digest, bytes);
  }

  putAll(puts: readonly BlobPut[]): Promise<unknown[]> {
    return this.#whole.putAll(puts);
  }

  /** The recipe of a blob whose chunks are all present. The leases of all are renewed. */
  async findRecipe(blob: BlobKey): Promise<Recipe | undefined> {
    const recipe = await this.#recipes.get(blob);
    if (recipe === undefined || (await this.#hasChunks(recipe))) return recipe;
    const stored = await this.#recipes.read(blob);
    return stored !== undefined && (await this.#hasChunks(stored)) ? stored : undefined;
  }

  /**
   * The bytes of chunks as one content.
   * @throws {CacheError} out_of_range.
   */
  open({ sizeBytes }: Digest, chunks: readonly Digest[], { offset, limit }: ByteRange = { offset: 0 }): BlobContent {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset > sizeBytes) {
      throw new CacheError("out_of_range", `read_offset: expected 0 to ${sizeBytes}, got ${offset}`);
    }
    return new SplicedContent(this.#whole, sizeBytes, chunks, offset, offset + (limit ?? sizeBytes));
  }

  async #hasChunks({ chunks }: Recipe): Promise<boolean> {
    return (await this.#whole.findMissing(DigestList.of(chunks))).length === 0;
  }

  async #renewAll(digests: readonly Digest[], renewing: Promise<boolean> | boolean): Promise<boolean> {
    if (await renewing) return true;
    return (await this.findMissing(DigestList.of(digests))).length === 0;
  }

  #getSpliced(digest: Digest, range: ByteRange | undefined): Promise<BlobContent | undefined> | undefined {
    const key = casKey(digest);
    if (!this.#recipes.peek(key)) return undefined;
    return this.findRecipe(key).then((recipe) => recipe && this.open(digest, recipe.chunks, range));
  }
}

/** Opens one chunk at a time. */
class SplicedContent implements BlobContent {
  readonly sizeBytes: number;
  readonly encoding = "identity";
  readonly #blobs: BlobStore;
  readonly #chunks: readonly Digest[];
  readonly #start: number;
  readonly #end: number;
  #current: BlobContent | undefined;
  #isClosed = false;

  constructor(blobs: BlobStore, sizeBytes: number, chunks: readonly Digest[], start: number, end: number) {
    this.#blobs = blobs;
    this.sizeBytes = sizeBytes;
    this.#chunks = chunks;
    this.#start = start;
    this.#end = end;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    let chunkStart = 0;
    for (const chunk of this.#chunks) {
      const chunkEnd = chunkStart + chunk.sizeBytes;
      const offset = Math.max(0, this.#start - chunkStart);
      const limit = Math.min(chunkEnd, this.#end) - chunkStart - offset;
      chunkStart = chunkEnd;
      if (limit > 0) yield* await this.#open(chunk, { offset, limit });
    }
  }

  async bytes(): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  close(): void {
    this.#isClosed = true;
    this.#current?.close();
  }

  async #open(chunk: Digest, range: ByteRange): Promise<BlobContent> {
    const content = await this.#blobs.get(chunk, range);
    if (content === undefined) {
      // It was leased when the blob was opened: it is damaged, or the cache is far too small.
      throw new CacheError("not_found", `chunk ${digestToString(chunk)} is not in the cache any more`);
    }
    this.#current = content;
    if (this.#isClosed) content.close();
    return content;
  }
}
