import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BlobStore } from "../../src/cache/blob-store.ts";
import { CacheError } from "../../src/cache/cache-error.ts";
import { type CasContent, EDGE_SIZES, collect, randomContent, randomContents } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { expectCode, expectSameBytes } from "./entry-store-contract.ts";
import { missingDigests } from "../support/missing-digests.ts";

export interface OpenBlobStore {
  readonly store: BlobStore;
  close(): Promise<void>;
}

const RACING_UPLOADS = 64;

/** What every BlobStore does, decorated or not. Its tests share a store, as those of an EntryStore do. */
export function describeBlobStore(name: string, open: () => Promise<OpenBlobStore>): void {
  describe(`${name} as a BlobStore`, () => {
    const random = seededRandom(testSeed(`${name} as a BlobStore`));
    let opened: OpenBlobStore;
    let store: BlobStore;

    beforeAll(async () => {
      opened = await open();
      store = opened.store;
    });
    afterAll(() => opened.close());

    const expectStored = async ({ digest, bytes }: CasContent): Promise<void> => {
      expect(store.peek(digest)).toBe(true);
      expect(await missingDigests(store, [digest])).toEqual([]);
      const content = await store.get(digest);
      expect(content?.sizeBytes).toBe(bytes.length);
      expectSameBytes(await content?.bytes(), bytes);
    };

    const expectAbsent = async ({ digest }: CasContent): Promise<void> => {
      expect(store.peek(digest)).toBe(false);
      expect(await missingDigests(store, [digest])).toEqual([digest]);
      expect(await store.get(digest)).toBeUndefined();
    };

    test("a blob that was never written is a miss", async () => {
      await expectAbsent(randomContent(random, 100));
    });

    test("findMissing gives the absent digests in the order asked, each as often as asked", async () => {
      const contents = randomContents(random, Array.from<number>({ length: 3000 }).fill(20));
      const isStored = contents.map(() => random.fraction() < 0.3);
      await Promise.all(contents.filter((_, index) => isStored[index]).map((c) => store.put(c.digest, c.bytes)));
      const asked = [...contents, ...contents.slice(0, 10)].map(({ digest }) => digest);
      const stored = new Set(contents.filter((_, index) => isStored[index]).map(({ digest }) => digest));
      expect(await missingDigests(store, asked)).toEqual(asked.filter((digest) => !stored.has(digest)));
      expect(await missingDigests(store, [])).toEqual([]);
    });

    test.each(EDGE_SIZES)("a blob of %i bytes comes back byte-exact, staged or put", async (sizeBytes) => {
      const [staged, put] = randomContents(random, [sizeBytes, sizeBytes]) as [CasContent, CasContent];
      await upload(store, staged);
      await expectStored(staged);
      await store.put(put.digest, put.bytes);
      await expectStored(put);
    });

    test("a range gives the bytes from its offset, at most as many as its limit", async () => {
      const { digest, bytes } = randomContent(random, 200_000);
      await store.put(digest, bytes);
      const range = { offset: 65_535, limit: 70_000 };
      expectSameBytes(await (await store.get(digest, range))?.bytes(), bytes.subarray(65_535, 135_535));
      expectSameBytes(await collect((await store.get(digest, range))!), bytes.subarray(65_535, 135_535));
      expectSameBytes(await (await store.get(digest, { offset: 200_000 }))?.bytes(), Buffer.alloc(0));
      await expectCode("out_of_range", () => store.get(digest, { offset: 200_001 }));
      await expectCode("out_of_range", () => store.get(digest, { offset: -1 }));
    });

    test("I1: a blob is absent until its upload is committed", async () => {
      const content = randomContent(random, 50_000);
      const staged = await store.stage(content.digest);
      await staged.write(content.bytes);
      await expectAbsent(content);
      await staged.commit();
      await expectStored(content);
    });

    test("I4: uploads of one digest at once all succeed", async () => {
      const content = randomContent(random, 100_000);
      await Promise.all(Array.from({ length: 8 }, () => upload(store, content)));
      await expectStored(content);
    });

    test("wrong bytes, missing bytes and excess bytes are refused and not kept", async () => {
      const content = randomContent(random, 1000);
      await expectCode("invalid_argument", () => store.put(content.digest, random.bytes(1000)));
      await expectCode("invalid_argument", () => store.put(content.digest, content.bytes.subarray(1)));
      await expectCode("invalid_argument", () => store.put(content.digest, Buffer.alloc(1001)));
      await expectCode("invalid_argument", () => upload(store, { ...content, bytes: random.bytes(1000) }));
      await expectCode("invalid_argument", () => upload(store, { ...content, bytes: content.bytes.subarray(1) }));
      await expectAbsent(content);
    });

    test.each([0, 1000])("the first byte past a size of %i is refused at once", async (sizeBytes) => {
      const { digest, bytes } = randomContent(random, sizeBytes);
      const staged = await store.stage(digest);
      await staged.write(bytes);
      await expectCode("invalid_argument", async () => staged.write(Buffer.of(0)));
      await staged.discard();
    });

    test.each([0, 1000])("commit after discard fails for %i bytes", async (sizeBytes) => {
      const { digest, bytes } = randomContent(random, sizeBytes);
      const staged = await store.stage(digest);
      await staged.write(bytes);
      await staged.discard();
      await staged.discard();
      await expect(staged.commit()).rejects.toBeInstanceOf(CacheError);
    });

    test("putAll stores what is right and says of each other what is wrong with it", async () => {
      const sizes = Array.from<number>({ length: 300 }).fill(500);
      const contents = randomContents(random, [0, ...sizes, 40_000, 100_000]);
      const wrong = new Set([1, 17, 301, 302]);
      const puts = contents.map(({ digest, bytes }, i) => ({
        digest,
        bytes: wrong.has(i) ? random.bytes(bytes.length) : bytes,
      }));
      puts.push({ digest: contents[5]!.digest, bytes: contents[5]!.bytes.subarray(1) });
      puts.push({ digest: contents[6]!.digest, bytes: contents[6]!.bytes });
      const failures = await store.putAll(puts);
      const codes = failures.map((failure) => (failure as CacheError | undefined)?.code);
      const expected = puts.map((_, i) => (wrong.has(i) || i === contents.length ? "invalid_argument" : undefined));
      expect(codes).toEqual(expected);
      for (const [i, content] of contents.entries())
        await (wrong.has(i) ? expectAbsent(content) : expectStored(content));
      expect(await store.putAll([])).toEqual([]);
    });

    test("many uploads at once, each read back as soon as it is acknowledged", async () => {
      const sizes = Array.from({ length: RACING_UPLOADS }, () => random.pick(EDGE_SIZES.slice(0, -1)));
      const contents = randomContents(random, sizes);
      await Promise.all(
        contents.map(async (content) => {
          await upload(store, content);
          await expectStored(content);
        }),
      );
      expect(
        await missingDigests(
          store,
          contents.map(({ digest }) => digest),
        ),
      ).toEqual([]);
    });
  });
}

async function upload(store: BlobStore, { digest, bytes }: CasContent): Promise<void> {
  const staged = await store.stage(digest);
  for (let offset = 0; offset < bytes.length; offset += 16_384)
    await staged.write(bytes.subarray(offset, offset + 16_384));
  await staged.commit();
}
