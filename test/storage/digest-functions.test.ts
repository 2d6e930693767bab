import { describe, expect, test } from "vitest";
import { DIGEST_FUNCTIONS, type DigestFunctionName } from "../../src/cache/digest.ts";
import { casKey } from "../../src/cache/entry-key.ts";
import { verifyStore } from "../../src/storage/verify-store.ts";
import { expectCode, expectSameBytes } from "../contract/entry-store-contract.ts";
import { contentOf, digestOf, randomContents } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { MIB, openTestEngine } from "../support/test-engine.ts";

const FUNCTIONS = Object.keys(DIGEST_FUNCTIONS) as DigestFunctionName[];
/** In the slab, in a temp file that is copied, and in one that is adopted, in two slices and a bit. */
const SIZES = [1, 1024, 1025, 100_000, 2 * MIB + 1, 17 * MIB + 3];

describe.each(FUNCTIONS)("blobs under %s", (fn) => {
  const random = seededRandom(testSeed(`blobs under ${fn}`));

  test("are stored by every way, read after a restart, and found sound by verify", async () => {
    await using directory = await makeTemporaryDirectory("digest-functions");
    const contents = randomContents(random, SIZES, fn);
    {
      await using engine = await openTestEngine({ directory: directory.path });
      // All at once: several hashes of one thread are under way in turns.
      await Promise.all(contents.map(({ key, bytes }) => engine.store.put(key, bytes)));
    }
    {
      await using engine = await openTestEngine({ directory: directory.path });
      for (const { key, bytes } of contents) expectSameBytes(await (await engine.store.get(key))?.bytes(), bytes);
    }
    const summary = verifyStore(directory.path, () => undefined);
    expect(summary).toMatchObject({ recordCount: SIZES.length, damage: [] });
  });

  test("are refused, by every way, where one byte is another", async () => {
    await using engine = await openTestEngine();
    for (const { key, bytes } of randomContents(random, SIZES, fn)) {
      const other = Buffer.from(bytes);
      other[bytes.length - 1]! ^= 1;
      await expectCode("invalid_argument", () => engine.store.put(key, other));
      expect(engine.store.peek(key)).toBe(false);
    }
    expect(engine.store.stats().bytesUsed).toBe(engine.store.stats().totals.segmentBytes);
  });
});

test("H19: the same hash under another function is another blob", async () => {
  await using engine = await openTestEngine();
  const plain = contentOf(Buffer.from("short enough for SHA256TREE to be SHA-256"), "sha256");
  const tree = digestOf(plain.bytes, "sha256tree");
  expect(tree.hash).toBe(plain.digest.hash);
  await engine.store.put(plain.key, plain.bytes);
  expect(engine.store.peek(casKey(tree))).toBe(false);
  await engine.store.put(casKey(tree), plain.bytes);
  expect(engine.store.stats().entries).toBe(2);
});

test("keys of every function are spread evenly over the shards", () => {
  const random = seededRandom(testSeed("keys of every function"));
  for (const fn of FUNCTIONS) {
    const firstWords = randomContents(random, Array.from<number>({ length: 400 }).fill(20), fn).map(
      ({ key }) => (key.words[0] ?? 0) >>> 0,
    );
    const perShard = [0, 1, 2, 3].map((shard) => firstWords.filter((word) => word % 4 === shard).length);
    // Five standard deviations of 100.
    for (const count of perShard) expect(Math.abs(count - 100), `${fn}: ${perShard.join()}`).toBeLessThan(44);
  }
});
