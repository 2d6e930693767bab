import { keyWords } from "../../src/cache/key-words.ts";
import { hash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CacheError, type CacheErrorCode } from "../../src/cache/cache-error.ts";
import { ACTION_CACHE_SPACE, type EntryKey } from "../../src/cache/entry-key.ts";
import type { EntryStore, StagedEntry } from "../../src/cache/entry-store.ts";
import { type CasContent, EDGE_SIZES, collect, randomContent, randomContents } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

export interface OpenEntryStore {
  readonly store: EntryStore;
  close(): Promise<void>;
}

const RACING_UPLOADS = 64;
const CHUNK_BYTES = 16 * 1024;

function actionSpaceKey(name: string): EntryKey {
  return { space: ACTION_CACHE_SPACE, words: keyWords(hash("sha256", name, "buffer")), sizeBytes: undefined };
}

/**
 * What every EntryStore does, whatever is behind it. The tests of a group share a store, because opening an engine
 * costs more than a test; contents are random, so that they meet only where a test wants them to.
 */
export function describeEntryStore(name: string, open: () => Promise<OpenEntryStore>): void {
  describe(`${name} as an EntryStore`, () => {
    const random = seededRandom(testSeed(`${name} as an EntryStore`));
    let opened: OpenEntryStore;
    let store: EntryStore;

    const openForGroup = (): void => {
      beforeAll(async () => {
        opened = await open();
        store = opened.store;
      });
      afterAll(() => opened.close());
    };

    const expectStored = async ({ key, bytes }: CasContent): Promise<void> => {
      expect(store.peek(key)).toBe(true);
      expect(store.find(key)).toBe(bytes.length);
      const content = await store.get(key);
      expect(content?.sizeBytes).toBe(bytes.length);
      expectSameBytes(await content?.bytes(), bytes);
    };

    const expectAbsent = async (key: EntryKey): Promise<void> => {
      expect(store.peek(key)).toBe(false);
      expect(store.find(key, { renew: true })).toBeUndefined();
      expect(await store.get(key)).toBeUndefined();
    };

    describe("reads", () => {
      openForGroup();

      test("an entry that was never written is a miss for peek, find and get", async () => {
        await expectAbsent(randomContent(random, 100).key);
        await expectAbsent(actionSpaceKey("never written"));
      });

      test("a key with the same hash and another size is another entry", async () => {
        const { key, bytes } = randomContent(random, 100);
        await store.put(key, bytes);
        await expectAbsent({ ...key, sizeBytes: 101 });
        await expectAbsent({ ...key, sizeBytes: 99 });
      });

      test("a range gives the bytes from its offset, at most as many as its limit", async () => {
        const { key, bytes } = randomContent(random, 200_000);
        await store.put(key, bytes);
        for (const [offset, limit] of [
          [0, undefined],
          [0, 1],
          [1, 1],
          [199_999, undefined],
          [65_535, 70_000],
          [100_000, 500_000],
          [200_000, undefined],
          [200_000, 5],
        ] as const) {
          const range = limit === undefined ? { offset } : { offset, limit };
          const expected = bytes.subarray(offset, limit === undefined ? undefined : offset + limit);
          const whole = await store.get(key, range);
          expect(whole?.sizeBytes).toBe(bytes.length);
          expectSameBytes(await whole?.bytes(), expected);
          expectSameBytes(await collect((await store.get(key, range))!), expected);
        }
      });

      test.each([-1, 101])("offset %i of an entry of 100 bytes is out of range", async (offset) => {
        const { key, bytes } = randomContent(random, 100);
        await store.put(key, bytes);
        await expectCode("out_of_range", () => store.get(key, { offset }));
      });

      test("an iteration that is left early can be started anew from another get", async () => {
        const { key, bytes } = randomContent(random, 300_000);
        await store.put(key, bytes);
        for await (const chunk of (await store.get(key))!) {
          expect(chunk.length).toBeGreaterThan(0);
          break;
        }
        expectSameBytes(await collect((await store.get(key))!), bytes);
      });

      test("what is prefetched is read as before, and what is not there stays absent", async () => {
        const contents = randomContents(random, [0, 1, 100, 100, 4096, 8192, 8193, 100_000, 300_000]);
        await store.putAll(contents);
        const absent = randomContent(random, 100);
        const keys = [...contents, absent, ...contents].map(({ key }) => key);
        for (let round = 0; round < 3; round += 1) {
          store.prefetch(keys);
          for (const content of contents) await expectStored(content);
          await expectAbsent(absent.key);
        }
        store.prefetch([]);
      });

      test("what is prefetched twice at once is there as it is", async () => {
        const sizes = Array.from({ length: 32 }, () => random.int(0, 8192));
        const [earlier, contents] = [randomContents(random, sizes), randomContents(random, sizes)];
        await store.putAll([...earlier, ...contents]);
        for (const content of earlier) await expectStored(content);
        for (const content of contents) {
          store.prefetch([content.key, content.key]);
          await expectStored(content);
          await expectStored(content);
        }
      });

      test("content that is closed unread leaves the entry as it was, and closing twice does nothing", async () => {
        const content = randomContent(random, 100_000);
        await store.put(content.key, content.bytes);
        const opened = await store.get(content.key);
        opened?.close();
        opened?.close();
        await expectStored(content);
      });
    });

    describe("uploads", () => {
      openForGroup();

      test.each(EDGE_SIZES)("a blob of %i bytes comes back byte-exact, staged or put", async (sizeBytes) => {
        const [staged, put] = randomContents(random, [sizeBytes, sizeBytes]) as [CasContent, CasContent];
        await upload(store, staged);
        await expectStored(staged);
        await store.put(put.key, put.bytes);
        await expectStored(put);
      });

      test.each([1, 100_000])("chunks of %i bytes make the same blob", async (chunkBytes) => {
        const content = randomContent(random, chunkBytes === 1 ? 5000 : 1_500_000);
        await upload(store, content, chunkBytes);
        await expectStored(content);
      });

      test("I1: nothing is visible before commit, even with every byte staged", async () => {
        const content = randomContent(random, 100_000);
        const staged = await store.stage(content.key);
        await expectAbsent(content.key);
        await writeAll(staged, content.bytes);
        expect(staged.bytesStaged).toBe(content.bytes.length);
        await expectAbsent(content.key);
        await staged.commit();
        await expectStored(content);
      });

      test("I2: the entry is visible in the very turn in which commit resolves", async () => {
        const content = randomContent(random, 10_000);
        const staged = await store.stage(content.key);
        await writeAll(staged, content.bytes);
        const isVisible = await staged.commit().then(() => store.peek(content.key));
        expect(isVisible).toBe(true);
      });

      test.each([100, 3_000_000])("I4: two uploads of one digest of %i bytes both succeed", async (sizeBytes) => {
        const content = randomContent(random, sizeBytes);
        await Promise.all([upload(store, content), upload(store, content), store.put(content.key, content.bytes)]);
        await expectStored(content);
      });

      test("I4: an upload that was discarded does not disturb one of the same digest", async () => {
        const content = randomContent(random, 50_000);
        const abandoned = await store.stage(content.key);
        const finished = await store.stage(content.key);
        await writeAll(abandoned, content.bytes.subarray(0, 20_000));
        await writeAll(finished, content.bytes);
        await Promise.all([abandoned.discard(), finished.commit()]);
        await expectStored(content);
      });

      test("I5: a chunk is copied, so the caller may overwrite it as soon as write is done", async () => {
        const content = randomContent(random, 200_000);
        const staged = await store.stage(content.key);
        const receiveBuffer = Buffer.alloc(7000);
        for (let offset = 0; offset < content.bytes.length; offset += receiveBuffer.length) {
          const sizeBytes = content.bytes.copy(receiveBuffer, 0, offset, offset + receiveBuffer.length);
          await staged.write(receiveBuffer.subarray(0, sizeBytes));
          receiveBuffer.fill(0xa5);
        }
        await staged.commit();
        await expectStored(content);
      });

      test.each([100, 100_000, 3_000_000])(
        "a blob of %i bytes is found and uploaded without its size",
        async (sizeBytes) => {
          const content = randomContent(random, sizeBytes);
          const key = { ...content.key, sizeBytes: undefined };
          await expectAbsent(key);
          await upload(store, { ...content, key });
          await expectStored({ ...content, key });
          await expectStored(content);
          const other = {
            ...randomContent(random, sizeBytes),
            key: { ...randomContent(random, 32).key, sizeBytes: undefined },
          };
          await expectCode("invalid_argument", () => upload(store, other));
          await expectAbsent(other.key);
        },
      );

      test("I5: bytes given to put may be overwritten once it resolves", async () => {
        const content = randomContent(random, 5000);
        const given = Buffer.from(content.bytes);
        await store.put(content.key, given);
        given.fill(0xa5);
        await expectStored(content);
      });

      test("bytesStaged counts what was taken, and an empty chunk adds nothing", async () => {
        const { key, bytes } = randomContent(random, 10);
        const staged = await store.stage(key);
        expect(staged.bytesStaged).toBe(0);
        await staged.write(bytes.subarray(0, 4));
        await staged.write(bytes.subarray(4, 4));
        expect(staged.bytesStaged).toBe(4);
        await staged.discard();
      });

      test("an entry that is present may be uploaded again", async () => {
        const content = randomContent(random, 70_000);
        await upload(store, content);
        await upload(store, content);
        await store.put(content.key, content.bytes);
        await expectStored(content);
      });
    });

    describe("refusals", () => {
      openForGroup();

      test.each([100, 100_000, 2_000_000])("%i bytes of another hash are refused and not kept", async (sizeBytes) => {
        const { key } = randomContent(random, sizeBytes);
        const { bytes } = randomContent(random, sizeBytes);
        const staged = await store.stage(key);
        await writeAll(staged, bytes);
        await expectCode("invalid_argument", () => staged.commit());
        await expectCode("invalid_argument", () => store.put(key, bytes));
        await expectAbsent(key);
      });

      test.each([1, 100_000, 2_000_000])("a blob of %i bytes that lacks its last is refused", async (sizeBytes) => {
        const { key, bytes } = randomContent(random, sizeBytes);
        const staged = await store.stage(key);
        await writeAll(staged, bytes.subarray(0, -1));
        await expectCode("invalid_argument", () => staged.commit());
        await expectCode("invalid_argument", () => store.put(key, bytes.subarray(0, -1)));
        await expectAbsent(key);
      });

      test.each([0, 100, 2_000_000])("the first byte past a size of %i is refused at once", async (sizeBytes) => {
        const { key, bytes } = randomContent(random, sizeBytes);
        const staged = await store.stage(key);
        await writeAll(staged, bytes);
        await expectCode("invalid_argument", async () => staged.write(Buffer.of(0)));
        await staged.discard();
        await expectCode("invalid_argument", () => store.put(key, Buffer.concat([bytes, Buffer.of(0)])));
        await expectAbsent(key);
      });

      test("a chunk that starts inside of the size and ends outside is refused at once", async () => {
        const { key, bytes } = randomContent(random, 1000);
        const staged = await store.stage(key);
        await staged.write(bytes.subarray(0, 900));
        await expectCode("invalid_argument", async () => staged.write(Buffer.alloc(101)));
        await staged.discard();
        await expectAbsent(key);
      });

      test("the right upload succeeds after a wrong one of the same digest was refused", async () => {
        const content = randomContent(random, 40_000);
        const wrong = { ...content, bytes: randomContent(random, 40_000).bytes };
        await expectCode("invalid_argument", () => upload(store, wrong));
        await upload(store, content);
        await expectStored(content);
      });
    });

    describe("discard", () => {
      openForGroup();

      test.each([0, 1, 100_000, 2_000_000])("an upload discarded after %i bytes leaves nothing", async (sizeBytes) => {
        const { key, bytes } = randomContent(random, sizeBytes + 1);
        const staged = await store.stage(key);
        await writeAll(staged, bytes.subarray(0, sizeBytes));
        await staged.discard();
        await expectAbsent(key);
      });

      test.each([0, 1, 40_000, 2_000_000])(
        "an upload that was parked after %i bytes goes on and is whole",
        async (parkAt) => {
          const content = randomContent(random, 2_500_000);
          for (const { key, bytes } of [content, randomContent(random, parkAt + 1)]) {
            const staged = await store.stage(key);
            await staged.write(bytes.subarray(0, parkAt));
            await staged.park();
            await staged.park();
            expect(staged.bytesStaged).toBe(parkAt);
            await staged.write(bytes.subarray(parkAt));
            await staged.commit();
            await expectStored({ ...content, key, bytes });
          }
        },
      );

      test("discard after discard and after commit does nothing", async () => {
        const [discarded, committed] = randomContents(random, [100, 100_000]) as [CasContent, CasContent];
        const first = await store.stage(discarded.key);
        await first.discard();
        await first.discard();
        const second = await store.stage(committed.key);
        await writeAll(second, committed.bytes);
        await second.commit();
        await second.discard();
        await expectAbsent(discarded.key);
        await expectStored(committed);
      });

      test("commit after discard fails and publishes nothing", async () => {
        const { key, bytes } = randomContent(random, 1000);
        const staged = await store.stage(key);
        await writeAll(staged, bytes);
        await staged.discard();
        await expect(staged.commit()).rejects.toBeInstanceOf(CacheError);
        await expectAbsent(key);
      });
    });

    describe("the action space", () => {
      openForGroup();

      test("a value is kept as given and replaced by the next one of any size", async () => {
        const key = actionSpaceKey("replaced");
        for (const sizeBytes of [10, 100_000, 0, 1, 2_000_000, 10]) {
          const bytes = random.bytes(sizeBytes);
          await store.put(key, bytes);
          await expectStored({ key, bytes } as CasContent);
        }
      });

      test("a staged value is kept as given, with its size known or not", async () => {
        for (const options of [{}, { sizeBytes: 5000 }]) {
          const key = actionSpaceKey(`staged ${JSON.stringify(options)}`);
          const bytes = random.bytes(5000);
          const staged = await store.stage(key, options);
          await writeAll(staged, bytes, 999);
          await staged.commit();
          await expectStored({ key, bytes } as CasContent);
        }
      });

      test("of concurrent updates one wins whole", async () => {
        const key = actionSpaceKey("raced");
        const values = Array.from({ length: 20 }, () => random.bytes(random.int(1, 20_000)));
        await Promise.all(values.map((bytes) => store.put(key, bytes)));
        const bytes = await (await store.get(key))?.bytes();
        expect(values.some((value) => value.equals(bytes!))).toBe(true);
      });

      test("updates one after the other leave the last", async () => {
        const key = actionSpaceKey("updated");
        let last: Buffer = Buffer.alloc(0);
        for (let round = 0; round < 50; round++) {
          last = random.bytes(random.int(0, 300));
          await store.put(key, last);
        }
        await expectStored({ key, bytes: last } as CasContent);
      });
    });

    describe("concurrency", () => {
      openForGroup();

      test("many uploads at once, each read back as soon as it is acknowledged", async () => {
        const sizes = Array.from({ length: RACING_UPLOADS }, () => random.pick(EDGE_SIZES.slice(0, -1)));
        const contents = randomContents(random, [...sizes, 4 * 1024 * 1024]);
        await Promise.all(
          contents.map(async (content) => {
            await upload(store, content, random.pick([1000, CHUNK_BYTES, 1_000_000]));
            await expectStored(content);
          }),
        );
        for (const content of contents) await expectStored(content);
      });

      test("good, wrong, short and discarded uploads at once do not touch each other", async () => {
        const contents = randomContents(
          random,
          Array.from({ length: RACING_UPLOADS }, () => random.int(100, 100_000)),
        );
        await Promise.all(
          contents.map(async (content, index) => {
            if (index % 4 === 0) return upload(store, content);
            const staged = await store.stage(content.key);
            if (index % 4 === 1) await writeAll(staged, random.bytes(content.bytes.length));
            else await writeAll(staged, content.bytes.subarray(0, -1));
            if (index % 4 === 3) return staged.discard();
            return expectCode("invalid_argument", () => staged.commit());
          }),
        );
        for (const [index, content] of contents.entries()) {
          if (index % 4 === 0) await expectStored(content);
          else await expectAbsent(content.key);
        }
      });
    });
  });
}

async function upload(store: EntryStore, content: CasContent, chunkBytes = CHUNK_BYTES): Promise<void> {
  const staged = await store.stage(content.key);
  await writeAll(staged, content.bytes, chunkBytes);
  await staged.commit();
}

async function writeAll(staged: StagedEntry, bytes: Uint8Array, chunkBytes = CHUNK_BYTES): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += chunkBytes) {
    await staged.write(bytes.subarray(offset, offset + chunkBytes));
  }
}

/** Compared as buffers, because a mismatch of megabytes printed byte by byte helps nobody. */
export function expectSameBytes(actual: Uint8Array | undefined, expected: Uint8Array): void {
  expect(actual?.length).toBe(expected.length);
  expect(Buffer.compare(actual ?? Buffer.alloc(0), expected), "the bytes differ").toBe(0);
}

export async function expectCode(code: CacheErrorCode, action: () => unknown): Promise<void> {
  await expect((async () => action())()).rejects.toMatchObject({ name: "CacheError", code });
}
