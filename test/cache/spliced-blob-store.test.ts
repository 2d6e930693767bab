import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RecipeStore } from "../../src/cache/chunking/recipe-store.ts";
import type { Digest } from "../../src/cache/digest.ts";
import { casKey, recipeKey } from "../../src/cache/entry-key.ts";
import { describeBlobStore } from "../contract/blob-store-contract.ts";
import { expectCode, expectSameBytes } from "../contract/entry-store-contract.ts";
import { type CasContent, collect, contentOf, randomContents } from "../support/cas-content.ts";
import { chunkedStore } from "../support/chunked-store.ts";
import type { MemoryEntryStore } from "../support/memory-entry-store.ts";
import { missingDigests } from "../support/missing-digests.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const random = seededRandom(testSeed("SplicedBlobStore"));

function expectNothingOpen({ openStaged, openContents }: MemoryEntryStore): void {
  expect([openStaged, openContents]).toEqual([0, 0]);
}

describeBlobStore("SplicedBlobStore", async () => {
  const { blobs, entries } = chunkedStore();
  return { store: blobs, close: async () => expectNothingOpen(entries) };
});

/** A blob that is there as its chunks only. */
async function splicedBlob(sizes: readonly number[]) {
  const store = chunkedStore();
  const chunks = randomContents(random, sizes);
  const blob = contentOf(Buffer.concat(chunks.map(({ bytes }) => bytes)));
  for (const { digest, bytes } of chunks) await store.whole.put(digest, bytes);
  await store.recipes.put(casKey(blob.digest), { function: 0, chunks: chunks.map(({ digest }) => digest) });
  return { ...store, chunks, blob };
}

const names = (digests: readonly (Digest | undefined)[]) => digests.map((digest) => digest?.hash);

describe("a blob of which only the chunks are there", () => {
  test("is found and read as any other", async () => {
    const { blobs, whole, blob } = await splicedBlob([100, 200_000, 1, 70_000]);
    expect(whole.peek(blob.digest)).toBe(false);
    expect(blobs.peek(blob.digest)).toBe(true);
    expect(await missingDigests(blobs, [blob.digest])).toEqual([]);
    const content = await blobs.get(blob.digest);
    expect(content?.sizeBytes).toBe(blob.bytes.length);
    expectSameBytes(await content?.bytes(), blob.bytes);
  });

  test("gives every range byte-exact, and closes what it opens (fast-check prints its seed)", async () => {
    const { blobs, entries, blob } = await splicedBlob([1000, 1, 70_000, 5, 3000]);
    const { length } = blob.bytes;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: length }),
        fc.option(fc.integer({ min: 0, max: length + 10 }), { nil: undefined }),
        async (offset, limit) => {
          const range = limit === undefined ? { offset } : { offset, limit };
          const expected = blob.bytes.subarray(offset, limit === undefined ? undefined : offset + limit);
          expectSameBytes(await collect((await blobs.get(blob.digest, range))!), expected);
          expectSameBytes(await (await blobs.get(blob.digest, range))?.bytes(), expected);
          expect(entries.openContents).toBe(0);
        },
      ),
    );
    await expectCode("out_of_range", () => blobs.get(blob.digest, { offset: -1 }));
    await expectCode("out_of_range", () => blobs.get(blob.digest, { offset: length + 1 }));
  });

  test("leaves nothing open where a reader stops early, or closes it unread or half read", async () => {
    const { blobs, entries, blob } = await splicedBlob([100_000, 100_000]);
    for await (const piece of (await blobs.get(blob.digest))!) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    expect(entries.openContents).toBe(0);
    (await blobs.get(blob.digest))!.close();
    const content = (await blobs.get(blob.digest))!;
    const pieces = content[Symbol.asyncIterator]();
    await pieces.next();
    content.close();
    content.close();
    expect(entries.openContents).toBe(0);
  });

  test("keeps its recipe and its chunks in use, whatever way it is used", async () => {
    const { blobs, entries, blob, chunks } = await splicedBlob([10, 20]);
    const used = [...chunks.map(({ key }) => key), recipeKey(blob.key)].map(({ space }) => space);
    used.sort((a, b) => a - b);
    const renewedBy = async (action: () => Promise<unknown>): Promise<number[]> => {
      entries.renewed.length = 0;
      await action();
      return [...new Set(entries.renewed)].map((name) => Number(name.split("/")[0])).toSorted((a, b) => a - b);
    };
    expect(await renewedBy(() => missingDigests(blobs, [blob.digest]))).toEqual(used);
    expect(await renewedBy(async () => expect(await blobs.renewAll([blob.digest])).toBe(true))).toEqual(used);
    expect(await renewedBy(async () => (await blobs.get(blob.digest))?.bytes())).toEqual(used);
  });

  test.each([0, 1, 2])("I8: is missing without chunk %i, and there again with it", async (index) => {
    const { blobs, entries, blob, chunks } = await splicedBlob([10, 20, 30]);
    const { key, digest, bytes } = chunks[index]!;
    entries.retire(key);
    expect(names(await missingDigests(blobs, [digest, blob.digest]))).toEqual(names([digest, blob.digest]));
    expect(await blobs.renewAll([blob.digest])).toBe(false);
    expect(await blobs.get(blob.digest)).toBeUndefined();
    await blobs.put(digest, bytes);
    expect(await missingDigests(blobs, [blob.digest])).toEqual([]);
  });

  test("is missing without its recipe, which may be dropped while the chunks are used by others", async () => {
    const { blobs, entries, blob } = await splicedBlob([10, 20]);
    expect(await missingDigests(blobs, [blob.digest])).toEqual([]);
    entries.retire(recipeKey(blob.key));
    expect(names(await missingDigests(blobs, [blob.digest]))).toEqual([blob.digest.hash]);
    expect(await blobs.get(blob.digest)).toBeUndefined();
  });

  test("is found by a recipe that another thread has put in the place of the one that is remembered", async () => {
    const { blobs, entries, whole, blob, chunks } = await splicedBlob([10, 20]);
    expect(await missingDigests(blobs, [blob.digest])).toEqual([]);
    const others = [contentOf(blob.bytes.subarray(0, 15)), contentOf(blob.bytes.subarray(15))];
    for (const { digest, bytes } of others) await whole.put(digest, bytes);
    const elsewhere = new RecipeStore(entries);
    await elsewhere.put(casKey(blob.digest), { function: 1, chunks: others.map(({ digest }) => digest) });
    for (const { key } of chunks) entries.retire(key);
    expect(await missingDigests(blobs, [blob.digest])).toEqual([]);
    expectSameBytes(await (await blobs.get(blob.digest))?.bytes(), blob.bytes);
  });

  test("is another than one with the same hash and another size (H19)", async () => {
    const { blobs, blob } = await splicedBlob([10, 20]);
    const other = { ...blob.digest, sizeBytes: 31 };
    expect(await missingDigests(blobs, [other])).toEqual([other]);
    expect(await blobs.get(other)).toBeUndefined();
  });

  test("can be uploaded whole, and is read from there", async () => {
    const { blobs, entries, blob, chunks } = await splicedBlob([10, 20]);
    await blobs.put(blob.digest, blob.bytes);
    for (const { key } of chunks) entries.retire(key);
    expect(await missingDigests(blobs, [blob.digest])).toEqual([]);
    expectSameBytes(await (await blobs.get(blob.digest))?.bytes(), blob.bytes);
  });

  test("whose chunk goes away while it is read breaks off as not found", async () => {
    const { blobs, entries, blob, chunks } = await splicedBlob([10, 20]);
    const content = (await blobs.get(blob.digest))!;
    entries.retire(casKey((chunks[1] as CasContent).digest));
    await expectCode("not_found", () => content.bytes());
  });
});
