import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CHUNKING_FUNCTIONS } from "../../../src/cache/chunking/chunking.ts";
import { decodeRecipe, encodeRecipe, type Recipe } from "../../../src/cache/chunking/recipe-format.ts";
import { DIGEST_FUNCTIONS, type DigestFunctionName } from "../../../src/cache/digest.ts";
import { digestOf } from "../../support/cas-content.ts";

const recipe: Recipe = {
  function: CHUNKING_FUNCTIONS.fastCdc2020,
  chunks: [digestOf(Buffer.alloc(10, 1)), digestOf(Buffer.alloc(20, 2))],
};
const encoded = Buffer.from(encodeRecipe("sha256", 30, recipe));

test("a recipe survives being stored, under every function (fast-check prints its seed)", () => {
  const functions = Object.keys(DIGEST_FUNCTIONS) as DigestFunctionName[];
  fc.assert(
    fc.property(
      fc.constantFrom(...functions),
      fc.constantFrom(...Object.values(CHUNKING_FUNCTIONS)),
      fc.array(fc.integer({ min: 1, max: 2 ** 40 })),
      (fn, made, sizes) => {
        const chunks = sizes.map((sizeBytes) => ({ ...digestOf(Buffer.from(`${sizeBytes}`), fn), sizeBytes }));
        const blobBytes = sizes.reduce((sum, size) => sum + size, 0);
        const stored = encodeRecipe(fn, blobBytes, { function: made, chunks });
        expect(decodeRecipe(fn, blobBytes, stored)).toEqual({ function: made, chunks });
      },
    ),
  );
});

describe("what is no recipe of the blob is none", () => {
  const changed = (at: number, byte: number): Buffer => {
    const bytes = Buffer.from(encoded);
    bytes[at] = byte;
    return bytes;
  };

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["another version", changed(0, 2)],
    ["an unknown function", changed(1, 3)],
    ["another size of the blob", changed(2, 31)],
    ["another size of a chunk", changed(8, 11)],
    ["a chunk less", encoded.subarray(0, 8 + 38)],
    ["half a chunk", encoded.subarray(0, -1)],
    ["no chunk", encoded.subarray(0, 8)],
  ])("%s", (_, bytes) => {
    expect(decodeRecipe("sha256", 30, encoded)).toEqual(recipe);
    expect(decodeRecipe("sha256", 30, bytes)).toBeUndefined();
  });

  test("that of a blob with the same hash and another size", () => {
    expect(decodeRecipe("sha256", 29, encoded)).toBeUndefined();
  });
});
