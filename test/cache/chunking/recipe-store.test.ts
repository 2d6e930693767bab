import { describe, expect, test } from "vitest";
import type { Recipe } from "../../../src/cache/chunking/recipe-format.ts";
import { recipeMemory, RecipeStore } from "../../../src/cache/chunking/recipe-store.ts";
import { casKey } from "../../../src/cache/entry-key.ts";
import { digestOf } from "../../support/cas-content.ts";
import { MemoryEntryStore } from "../../support/memory-entry-store.ts";

const CHUNKS = Array.from({ length: 20 }, (_, i) => digestOf(Buffer.from(`chunk ${i}`)));

describe("RecipeStore", () => {
  test.each([0, 100_000])(
    "keeps recipes decoded within %i bytes, and gives those past it all the same",
    async (bytesMax) => {
      const memory = recipeMemory(bytesMax);
      const recipes = new RecipeStore(new MemoryEntryStore(), memory);
      const sizeBytes = CHUNKS.reduce((sum, chunk) => sum + chunk.sizeBytes, 0);
      const blobs = Array.from({ length: 50 }, (_, i) => casKey({ ...digestOf(Buffer.from(`blob ${i}`)), sizeBytes }));
      const recipe: Recipe = { function: 0, chunks: CHUNKS };
      for (const blob of blobs) await recipes.put(blob, recipe);
      for (const blob of blobs) {
        expect(await recipes.get(blob)).toEqual(recipe);
        expect(memory.cost).toBeLessThanOrEqual(bytesMax);
      }
      expect(memory.cost).toBeGreaterThanOrEqual(bytesMax / 4);
    },
  );
});
