import { BlobChunker } from "../../src/cache/chunking/blob-chunker.ts";
import { CHUNKING_FUNCTIONS, type Chunking } from "../../src/cache/chunking/chunking.ts";
import { RecipeStore } from "../../src/cache/chunking/recipe-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { SplicedBlobStore } from "../../src/cache/spliced-blob-store.ts";
import { LocalScanner } from "./local-scanner.ts";
import { MemoryEntryStore } from "./memory-entry-store.ts";

/** Chunks of 256 bytes to 4 KiB, so that tests need no large blobs. */
export const SMALL_CHUNKS: Chunking = {
  function: CHUNKING_FUNCTIONS.fastCdc2020,
  parameters: { avgBytes: 1024, seed: 0 },
};

/** The same way, of 512 bytes to 1 KiB. */
export const SMALL_MAX_CHUNKS: Chunking = {
  function: CHUNKING_FUNCTIONS.repMaxCdc,
  parameters: { minBytes: 512, horizonBytes: 2048 },
};

/** Blobs that may be split and spliced, in memory and without a thread. */
export function chunkedStore(entries = new MemoryEntryStore()) {
  const scanner = new LocalScanner();
  const whole = new EntryBlobStore(entries);
  const recipes = new RecipeStore(entries);
  const blobs = new SplicedBlobStore(whole, recipes);
  const chunker = new BlobChunker({ whole, blobs, recipes, scanner, chunkings: [SMALL_CHUNKS, SMALL_MAX_CHUNKS] });
  return { entries, scanner, whole, recipes, blobs, chunker };
}
