import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BlobStore } from "../../src/cache/blob-store.ts";
import { CacheError } from "../../src/cache/cache-error.ts";
import type { Encoding } from "../../src/cache/encoding.ts";
import { decodeZstd } from "../../src/cache/zstd/zstd-decoder.ts";
import { type CasContent, EDGE_SIZES, collect, randomContent, randomContents } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { SKIPPABLE_FRAME, textContent } from "../support/zstd-data.ts";
import { expectCode, expectSameBytes } from "./entry-store-contract.ts";
import { missingDigests } from "../support/missing-digests.ts";

export interface OpenBlobStore {
  readonly store: BlobStore;
  close(): Promise<void>;
}

const RACING_UPLOADS = 64;

/** What every BlobStore does, decorated or not. Its tests share a store, as those of an EntryStore do. */
export function describeBlobStore(
  name: string,
  open: () => Promise<OpenBlobStore>,
  { kept = "zstd" }: { /** What becomes of blobs that are uploaded as zstd. */ kept?: Encoding } = {},
): void {
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

    describe("encoded as zstd", () => {
      const zstd = "zstd";

      test.each([...EDGE_SIZES, 9 * 1024 * 1024])(
        "a blob of %i bytes is given as it was uploaded, or as it is",
        async (sizeBytes) => {
          const compressible = textContent(random, sizeBytes);
          const incompressible = randomContent(random, sizeBytes);
          for (const content of [compressible, incompressible]) {
            // Of one byte there are so few blobs that another test may have stored it, in its own way.
            const isNew = !store.peek(content.digest);
            await upload(store, content, zstdCompressSync(content.bytes), zstd);
            await expectStored(content);
            const given = (await store.get(content.digest, undefined, zstd))!;
            expect(given.sizeBytes).toBe(sizeBytes);
            const bytes = Buffer.from(await given.bytes());
            expectSameBytes(given.encoding === zstd ? decodeZstd([bytes], sizeBytes) : bytes, content.bytes);
            expect(given.encoding).toBe(isNew ? kept : given.encoding);
            expectSameBytes(await collect((await store.get(content.digest))!), content.bytes);
          }
        },
      );

      test("frames one after another are one blob, and skippable ones are nothing", async () => {
        const content = textContent(random, 300_000);
        const frames = [0, 100_000, 200_000].map((at) => zstdCompressSync(content.bytes.subarray(at, at + 100_000)));
        const data = Buffer.concat([SKIPPABLE_FRAME, ...frames.flatMap((frame) => [frame, SKIPPABLE_FRAME])]);
        await upload(store, content, data, zstd);
        await expectStored(content);
        const asKept = kept === zstd ? data : content.bytes;
        expectSameBytes(await (await store.get(content.digest, undefined, zstd))?.bytes(), asKept);
      });

      test.each([5000, 200_000, 3_000_000])(
        "a range of %i bytes is counted in bytes of the blob",
        async (sizeBytes) => {
          const { digest, bytes, ...content } = textContent(random, sizeBytes);
          await upload(store, { digest, bytes, ...content }, zstdCompressSync(bytes), zstd);
          for (const [offset, limit] of [
            [0, 1],
            [1, undefined],
            [Math.floor(sizeBytes / 3), Math.floor(sizeBytes / 3)],
            [sizeBytes - 1, 100],
            [sizeBytes, undefined],
          ] as const) {
            const range = limit === undefined ? { offset } : { offset, limit };
            const expected = bytes.subarray(offset, limit === undefined ? undefined : offset + limit);
            for (const accept of ["identity", zstd] as const) {
              const part = (await store.get(digest, range, accept))!;
              expect(part.encoding).toBe("identity");
              expectSameBytes(await part.bytes(), expected);
              expectSameBytes(await collect((await store.get(digest, range, accept))!), expected);
            }
          }
          await expectCode("out_of_range", () => store.get(digest, { offset: sizeBytes + 1 }));
        },
      );

      test("a reader that accepts zstd is given what is not stored so as it is", async () => {
        const content = textContent(random, 50_000);
        await store.put(content.digest, content.bytes);
        const given = await store.get(content.digest, undefined, zstd);
        if (given?.encoding === "identity") expectSameBytes(await given.bytes(), content.bytes);
        else expectSameBytes(decodeZstd([await given!.bytes()], 50_000), content.bytes);
      });

      test("what is read in part and closed leaves nothing open", async () => {
        const content = textContent(random, 2_000_000);
        await upload(store, content, zstdCompressSync(content.bytes), zstd);
        for await (const piece of (await store.get(content.digest))!) {
          expectSameBytes(piece, content.bytes.subarray(0, piece.length));
          break;
        }
        (await store.get(content.digest))?.close();
        await expectStored(content);
      });

      test("what does not decode to the blob is refused and not kept", async () => {
        const content = textContent(random, 100_000);
        const sound = zstdCompressSync(content.bytes);
        const damaged = Buffer.from(sound);
        damaged.fill(0xff, 1000, 1100);
        for (const data of [
          content.bytes,
          zstdCompressSync(content.bytes.toReversed()),
          zstdCompressSync(Buffer.alloc(10_000_000)),
          zstdCompressSync(content.bytes.subarray(1)),
          sound.subarray(0, -1),
          damaged,
          Buffer.concat([sound, Buffer.from("?")]),
          Buffer.concat([sound, sound]),
          SKIPPABLE_FRAME,
        ]) {
          await expectCode("invalid_argument", () => upload(store, content, data, zstd));
          const [failure] = await store.putAll([{ digest: content.digest, bytes: data, encoding: zstd }]);
          expect((failure as CacheError | undefined)?.code).toBe("invalid_argument");
          await expectAbsent(content);
        }
        await upload(store, content, sound, zstd);
        await expectStored(content);
      });

      test("more bytes than any encoding of the size has are refused at once", async () => {
        const { digest } = randomContent(random, 1000);
        const staged = await store.stage(digest, undefined, zstd);
        await expectCode("invalid_argument", async () => staged.write(random.bytes(1000 + 70_000)));
        await staged.discard();
      });

      test("putAll stores values of either encoding side by side", async () => {
        const contents = [0, 1, 100, 5000, 40_000, 100_000].map((sizeBytes) => textContent(random, sizeBytes));
        const puts = contents.map(({ digest, bytes }, i) =>
          i % 2 === 0 ? ({ digest, bytes: zstdCompressSync(bytes), encoding: zstd } as const) : { digest, bytes },
        );
        expect(await store.putAll(puts)).toEqual(puts.map(() => undefined));
        for (const content of contents) await expectStored(content);
      });

      test("I4: uploads of one digest in both encodings at once all succeed", async () => {
        const content = textContent(random, 100_000);
        const data = zstdCompressSync(content.bytes);
        await Promise.all(
          Array.from({ length: 8 }, (_, i) =>
            i % 2 === 0 ? upload(store, content) : upload(store, content, data, zstd),
          ),
        );
        await expectStored(content);
      });
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

async function upload(
  store: BlobStore,
  { digest, bytes }: CasContent,
  data: Uint8Array = bytes,
  encoding?: Encoding,
): Promise<void> {
  const staged = await store.stage(digest, undefined, encoding);
  for (let offset = 0; offset < data.length; offset += 16_384)
    await staged.write(data.subarray(offset, offset + 16_384));
  await staged.commit();
}
