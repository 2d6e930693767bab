import type { BlobStore } from "../blob-store.ts";
import { CacheError } from "../cache-error.ts";
import { type Digest, digestName, digestToString, isEmptyDigest } from "../digest.ts";
import { DigestList } from "../digest-list.ts";
import { casKey } from "../entry-key.ts";
import type { SplicedBlobStore } from "../spliced-blob-store.ts";
import { slices } from "../turns.ts";
import { CHUNKING_FUNCTIONS, type Chunking, chunkedBytesMin, type ChunkingFunctionNumber } from "./chunking.ts";
import type { ContentScanner } from "./content-scanner.ts";
import type { Recipe } from "./recipe-format.ts";
import type { RecipeStore } from "./recipe-store.ts";

export interface BlobChunkerOptions {
  /** Blobs that are there whole. */
  readonly whole: BlobStore;
  /** These, and those that are there as chunks. */
  readonly blobs: SplicedBlobStore;
  readonly recipes: RecipeStore;
  readonly scanner: ContentScanner;
  /** How blobs are split here; the first one where a client leaves the choice. */
  readonly chunkings: readonly [Chunking, ...Chunking[]];
}

/** Chunks stored at the same time: they share group commits. */
const CHUNKS_AT_ONCE = 8;

/** Splits blobs into chunks, and makes blobs out of chunks, without holding either in memory. */
export class BlobChunker {
  readonly #whole: BlobStore;
  readonly #blobs: SplicedBlobStore;
  readonly #recipes: RecipeStore;
  readonly #scanner: ContentScanner;
  readonly #chunkings: readonly [Chunking, ...Chunking[]];
  /** Splits under way, so that clients who ask for the same one at the same time wait for it together. */
  readonly #splitting = new Map<string, Promise<Recipe>>();

  constructor(options: BlobChunkerOptions) {
    this.#whole = options.whole;
    this.#blobs = options.blobs;
    this.#recipes = options.recipes;
    this.#scanner = options.scanner;
    this.#chunkings = options.chunkings;
  }

  /**
   * The chunks of a blob, all present and leased. They are made where they are not known.
   * @param wanted A wish: what made the chunks is in the recipe.
   * @throws {CacheError} not_found.
   */
  async split(blob: Digest, wanted: ChunkingFunctionNumber): Promise<Recipe> {
    const offered = this.#chunkings.find((chunking) => chunking.function === wanted);
    const known = isEmptyDigest(blob) ? undefined : await this.#blobs.findRecipe(casKey(blob));
    if (known !== undefined && (offered === undefined || known.function === offered.function)) return known;
    const chunking = offered ?? this.#chunkings[0];
    if (blob.sizeBytes < chunkedBytesMin(chunking)) return this.#splitNot(blob, chunking);
    const name = `${chunking.function} ${digestName(blob)}`;
    let splitting = this.#splitting.get(name);
    if (splitting === undefined) {
      splitting = this.#split(blob, chunking).finally(() => this.#splitting.delete(name));
      this.#splitting.set(name, splitting);
    }
    return splitting;
  }

  /**
   * Makes the blob that the chunks are together. Stored is how to: the bytes stay in the chunks.
   * @param made What the client says has made them; believed only where it is so.
   * @throws {CacheError} invalid_argument where size or hash are not those of `blob`; not_found where a chunk is missing.
   */
  async splice(
    blob: Digest,
    chunks: readonly Digest[],
    made: ChunkingFunctionNumber,
    signal: AbortSignal,
  ): Promise<void> {
    const sizeBytes = chunks.reduce((sum, chunk) => sum + chunk.sizeBytes, 0);
    if (sizeBytes !== blob.sizeBytes) {
      throw new CacheError(
        "invalid_argument",
        `chunk_digests: expected ${blob.sizeBytes} bytes in all, got ${sizeBytes}`,
      );
    }
    const flat = await this.#wholeChunks(chunks.filter((chunk) => !isEmptyDigest(chunk)));
    const [first] = flat;
    if (first === undefined || (flat.length === 1 && first.hash === blob.hash)) return;
    const known = await this.#recipes.get(casKey(blob));
    if (known !== undefined && areSame(known.chunks, flat)) return;
    const chunking = this.#chunkings.find((offered) => offered.function === made);
    const request = { fn: blob.fn, sizeBytes, wantsHash: true, chunking };
    const scanned = await this.#scanner.scan(this.#blobs.open(blob, flat), request, signal);
    if (scanned.hash !== blob.hash) {
      throw new CacheError(
        "invalid_argument",
        `blob_digest.hash: expected that of the chunks ${scanned.hash}, got ${blob.hash}`,
      );
    }
    const isAsSaid = chunking !== undefined && areSame(scanned.chunks, flat);
    await this.#recipes.put(casKey(blob), { function: isAsSaid ? made : CHUNKING_FUNCTIONS.unknown, chunks: flat });
  }

  async #splitNot(blob: Digest, chunking: Chunking): Promise<Recipe> {
    if (!isEmptyDigest(blob) && !(await this.#blobs.renewAll([blob]))) throw missing("blob", blob);
    return { function: chunking.function, chunks: [blob] };
  }

  async #split(blob: Digest, chunking: Chunking): Promise<Recipe> {
    const content = await this.#blobs.get(blob);
    if (content === undefined) throw missing("blob", blob);
    const { fn, sizeBytes } = blob;
    try {
      const { chunks } = await this.#scanner.scan(content, { fn, sizeBytes, wantsHash: false, chunking });
      await this.#storeChunks(blob, chunks);
      const recipe: Recipe = { function: chunking.function, chunks };
      await this.#recipes.put(casKey(blob), recipe);
      return recipe;
    } finally {
      // A scan that was refused has not read it.
      content.close();
    }
  }

  /** Copies out of the blob those chunks that are not there yet. */
  async #storeChunks(blob: Digest, chunks: readonly Digest[]): Promise<void> {
    const absent = new Set((await missingOf(this.#whole, chunks)).map(digestToString));
    let offset = 0;
    const copies: { chunk: Digest; offset: number }[] = [];
    for (const chunk of chunks) {
      // Once, however often it occurs.
      if (absent.delete(digestToString(chunk))) copies.push({ chunk, offset });
      offset += chunk.sizeBytes;
    }
    for (const slice of slices(copies, CHUNKS_AT_ONCE)) {
      await Promise.all(slice.map((copy) => this.#storeChunk(blob, copy.chunk, copy.offset)));
    }
  }

  async #storeChunk(blob: Digest, chunk: Digest, offset: number): Promise<void> {
    const staged = await this.#whole.stage(chunk);
    try {
      const content = await this.#blobs.get(blob, { offset, limit: chunk.sizeBytes });
      if (content === undefined) throw missing("blob", blob);
      for await (const piece of content) await staged.write(piece);
    } catch (error) {
      await staged.discard();
      throw error;
    }
    await staged.commit();
  }

  /**
   * The same bytes in chunks that are there whole and leased: one that is itself a spliced blob is replaced by its own.
   * @throws {CacheError} not_found.
   */
  async #wholeChunks(chunks: readonly Digest[]): Promise<readonly Digest[]> {
    const absent = new Map((await missingOf(this.#whole, chunks)).map((chunk) => [digestToString(chunk), chunk]));
    if (absent.size === 0) return chunks;
    const parts = new Map<string, readonly Digest[]>();
    for (const [name, chunk] of absent) {
      const recipe = await this.#blobs.findRecipe(casKey(chunk));
      if (recipe === undefined) throw missing("chunk", chunk);
      parts.set(name, recipe.chunks);
    }
    return chunks.flatMap((chunk) => parts.get(digestToString(chunk)) ?? [chunk]);
  }
}

/** Those of them that are absent. The leases of the others are renewed. */
async function missingOf(blobs: BlobStore, digests: readonly Digest[]): Promise<Digest[]> {
  const positions = new Set(await blobs.findMissing(DigestList.of(digests)));
  return digests.filter((_, position) => positions.has(position));
}

function areSame(some: readonly Digest[], others: readonly Digest[]): boolean {
  return some.length === others.length && some.every(({ hash }, index) => hash === others[index]?.hash);
}

function missing(what: string, digest: Digest): CacheError {
  return new CacheError("not_found", `${what} ${digestToString(digest)} is not in the cache`);
}
