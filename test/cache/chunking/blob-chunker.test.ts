import { describe, expect, test } from "vitest";
import { CHUNKING_FUNCTIONS } from "../../../src/cache/chunking/chunking.ts";
import type { Digest } from "../../../src/cache/digest.ts";
import { casKey, recipeKey } from "../../../src/cache/entry-key.ts";
import { expectCode, expectSameBytes } from "../../contract/entry-store-contract.ts";
import { type CasContent, contentOf, digestOf, randomContent, randomContents } from "../../support/cas-content.ts";
import { chunkedStore } from "../../support/chunked-store.ts";
import { missingDigests } from "../../support/missing-digests.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const { unknown, fastCdc2020, repMaxCdc } = CHUNKING_FUNCTIONS;
const random = seededRandom(testSeed("BlobChunker"));
const signal = new AbortController().signal;

async function storeWith(...contents: CasContent[]) {
  const store = chunkedStore();
  for (const { digest, bytes } of contents) await store.whole.put(digest, bytes);
  return store;
}

const digestsOf = (contents: readonly CasContent[]): Digest[] => contents.map(({ digest }) => digest);
const together = (contents: readonly CasContent[]): CasContent =>
  contentOf(Buffer.concat(contents.map(({ bytes }) => bytes)));

async function bytesOf(store: ReturnType<typeof chunkedStore>, digests: readonly Digest[]): Promise<Buffer> {
  const contents = await Promise.all(digests.map(async (digest) => (await store.blobs.get(digest))!.bytes()));
  return Buffer.concat(contents);
}

describe("split", () => {
  const blob = randomContent(random, 50_000);

  test.each([
    [unknown, fastCdc2020],
    [fastCdc2020, fastCdc2020],
    [repMaxCdc, repMaxCdc],
  ])("stores the chunks of a blob, function %i wanted and %i used", async (wanted, used) => {
    const store = await storeWith(blob);
    const recipe = await store.chunker.split(blob.digest, wanted);
    expect(recipe.function).toBe(used);
    expect(recipe.chunks.length).toBeGreaterThan(10);
    expectSameBytes(await bytesOf(store, recipe.chunks), blob.bytes);
    expect([store.entries.openStaged, store.entries.openContents]).toEqual([0, 0]);
  });

  test("is done once, also for those who ask at the same time", async () => {
    const store = await storeWith(blob);
    const asked = Array.from({ length: 5 }, () => store.chunker.split(blob.digest, fastCdc2020));
    const [first, ...others] = await Promise.all(asked);
    for (const other of others) expect(other).toEqual(first);
    expect(await store.chunker.split(blob.digest, unknown)).toEqual(first);
    expect(store.scanner.scans).toBe(1);
  });

  test("by another function than before replaces the chunks", async () => {
    const store = await storeWith(blob);
    const before = await store.chunker.split(blob.digest, fastCdc2020);
    const after = await store.chunker.split(blob.digest, repMaxCdc);
    expect([before.function, after.function]).toEqual([fastCdc2020, repMaxCdc]);
    expect(await store.chunker.split(blob.digest, unknown)).toEqual(after);
    expectSameBytes(await bytesOf(store, after.chunks), blob.bytes);
  });

  test("makes a chunk that went away again, as long as the blob is there whole", async () => {
    const store = await storeWith(blob);
    const recipe = await store.chunker.split(blob.digest, fastCdc2020);
    store.entries.retire(casKey(recipe.chunks[3]!));
    expect(await store.chunker.split(blob.digest, fastCdc2020)).toEqual(recipe);
    expect(await missingDigests(store.whole, recipe.chunks)).toEqual([]);
  });

  test("shares chunks between blobs", async () => {
    const edited = Buffer.from(blob.bytes);
    edited[25_000]! ^= 1;
    const other = contentOf(edited);
    const store = await storeWith(blob, other);
    const first = await store.chunker.split(blob.digest, fastCdc2020);
    const stagedBefore = store.entries.stagedEver;
    const second = await store.chunker.split(other.digest, fastCdc2020);
    const known = new Set(first.chunks.map(({ hash }) => hash));
    const changed = second.chunks.filter(({ hash }) => !known.has(hash));
    expect(store.entries.stagedEver - stagedBefore).toBe(changed.length);
    // Cuts depend on what is before them: the chunks up to the edit are the same, whatever comes behind it.
    let end = 0;
    const before = second.chunks.filter(({ sizeBytes }) => (end += sizeBytes) <= 25_000);
    expect(before.length).toBeGreaterThan(3);
    expect(before.filter(({ hash }) => !known.has(hash))).toEqual([]);
  });

  test("stores a chunk that occurs often once", async () => {
    const zeros = contentOf(Buffer.alloc(40_960));
    const store = await storeWith(zeros);
    const { chunks } = await store.chunker.split(zeros.digest, fastCdc2020);
    expect(chunks).toHaveLength(10);
    expect(store.entries.stagedEver).toBe(1);
  });

  test("leaves a blob whole that is smaller than the largest chunk", async () => {
    const small = randomContent(random, 4095);
    const store = await storeWith(small);
    expect(await store.chunker.split(small.digest, fastCdc2020)).toEqual({
      function: fastCdc2020,
      chunks: [small.digest],
    });
    expect(store.entries.peek(recipeKey(small.key))).toBe(false);
    const empty = digestOf(Buffer.alloc(0));
    expect((await store.chunker.split(empty, unknown)).chunks).toEqual([empty]);
  });

  test.each([100, 50_000])("of a missing blob of %i bytes finds nothing", async (sizeBytes) => {
    const store = chunkedStore();
    await expectCode("not_found", () => store.chunker.split(randomContent(random, sizeBytes).digest, unknown));
  });
});

describe("splice", () => {
  const chunks = randomContents(random, [5000, 1, 20_000]);
  const blob = together(chunks);

  test("makes a blob of chunks, each of which is stored once", async () => {
    const store = await storeWith(...chunks);
    await store.chunker.splice(blob.digest, digestsOf(chunks), unknown, signal);
    expect(await missingDigests(store.blobs, [blob.digest])).toEqual([]);
    expectSameBytes(await bytesOf(store, [blob.digest]), blob.bytes);
    expect(store.whole.peek(blob.digest)).toBe(false);
    expect(await store.chunker.split(blob.digest, unknown)).toEqual({ function: unknown, chunks: digestsOf(chunks) });
    expect([store.entries.openStaged, store.entries.openContents]).toEqual([0, 0]);
  });

  test("again, of the same chunks, reads nothing", async () => {
    const store = await storeWith(...chunks);
    await store.chunker.splice(blob.digest, digestsOf(chunks), unknown, signal);
    await store.chunker.splice(blob.digest, digestsOf(chunks), unknown, signal);
    expect(store.scanner.scans).toBe(1);
  });

  test("skips empty chunks", async () => {
    const empty = digestOf(Buffer.alloc(0));
    const store = await storeWith(...chunks);
    await store.chunker.splice(
      blob.digest,
      digestsOf(chunks).flatMap((digest) => [empty, digest]),
      unknown,
      signal,
    );
    expect((await store.chunker.split(blob.digest, unknown)).chunks).toEqual(digestsOf(chunks));
  });

  test("of chunks of which one is missing finds nothing", async () => {
    const store = await storeWith(...chunks.slice(1));
    await expectCode("not_found", () => store.chunker.splice(blob.digest, digestsOf(chunks), unknown, signal));
    expect(store.blobs.peek(blob.digest)).toBe(false);
  });

  test("to another hash or another size is refused, also where the blob is there", async () => {
    const store = await storeWith(blob, ...chunks);
    const turned = digestsOf(chunks.toReversed());
    await expectCode("invalid_argument", () => store.chunker.splice(blob.digest, turned, unknown, signal));
    await expectCode("invalid_argument", () => store.chunker.splice(blob.digest, turned.slice(1), unknown, signal));
    await expectCode("invalid_argument", () => store.chunker.splice(blob.digest, [], unknown, signal));
    expect(store.entries.peek(recipeKey(blob.key))).toBe(false);
  });

  test("of a blob alone is that blob, and no recipe that refers to itself", async () => {
    const store = await storeWith(blob);
    await store.chunker.splice(blob.digest, [blob.digest], unknown, signal);
    expect(store.entries.peek(recipeKey(blob.key))).toBe(false);
    await expectCode("not_found", () => chunkedStore().chunker.splice(blob.digest, [blob.digest], unknown, signal));
  });

  test("of blobs that are spliced themselves goes down to their chunks", async () => {
    const more = randomContents(random, [300, 400]);
    const store = await storeWith(...chunks, ...more);
    await store.chunker.splice(blob.digest, digestsOf(chunks), unknown, signal);
    const outer = together([blob, ...more]);
    await store.chunker.splice(outer.digest, digestsOf([blob, ...more]), unknown, signal);
    store.entries.retire(recipeKey(blob.key));
    expectSameBytes(await bytesOf(store, [outer.digest]), outer.bytes);
    const { chunks: flat } = await store.chunker.split(outer.digest, unknown);
    expect(flat).toEqual(digestsOf([...chunks, ...more]));
  });

  test("believes a client only where its chunks are what the function makes", async () => {
    const large = randomContent(random, 50_000);
    const store = await storeWith(large, ...chunks);
    const made = await store.chunker.split(large.digest, fastCdc2020);
    store.entries.retire(large.key);
    store.entries.retire(recipeKey(large.key));
    await store.chunker.splice(large.digest, made.chunks, fastCdc2020, signal);
    expect(await store.chunker.split(large.digest, fastCdc2020)).toEqual(made);

    await store.chunker.splice(blob.digest, digestsOf(chunks), fastCdc2020, signal);
    expect((await store.chunker.split(blob.digest, unknown)).function).toBe(unknown);
    const again = await store.chunker.split(blob.digest, fastCdc2020);
    expect(again.function).toBe(fastCdc2020);
    expectSameBytes(await bytesOf(store, again.chunks), blob.bytes);
  });
});
