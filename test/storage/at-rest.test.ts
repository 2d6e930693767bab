import { zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { expectSameBytes } from "../contract/entry-store-contract.ts";
import { randomContent } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { MIB, openTestEngine } from "../support/test-engine.ts";
import { textContent } from "../support/zstd-data.ts";

const random = seededRandom(testSeed("at rest"));
/** In a group; in a group, from a temp file; adopted. */
const SIZES = [1024, 5000, 100_000, 3 * MIB, 9 * MIB, 20 * MIB + 12_345];

/** @returns what is stored, told by what a reader who takes zstd is given, and the bytes that segments take. */
async function storedAs(
  atRest: "as-uploaded" | "zstd" | "identity",
  content: ReturnType<typeof textContent>,
  asZstd: boolean,
) {
  await using engine = await openTestEngine({ atRest });
  const blobs = new EntryBlobStore(engine.store);
  const before = engine.store.stats().bytesUsed;
  const staged = await blobs.stage(content.digest, undefined, asZstd ? "zstd" : "identity");
  await staged.write(asZstd ? zstdCompressSync(content.bytes) : content.bytes);
  await staged.commit();
  const given = (await blobs.get(content.digest, undefined, "zstd"))!;
  given.close();
  expectSameBytes(await (await blobs.get(content.digest))?.bytes(), content.bytes);
  const { bytesUsed, totals, stagingFileBytes } = engine.store.stats();
  expect(bytesUsed, "ledger against segments").toBe(totals.segmentBytes);
  expect(stagingFileBytes).toBe(0);
  return { encoding: given.encoding, bytes: bytesUsed - before };
}

test.each(SIZES)("zstd at rest: %i bytes that compress are stored so, however they came", async (sizeBytes) => {
  const content = textContent(random, sizeBytes);
  for (const asZstd of [true, false]) {
    const { encoding, bytes } = await storedAs("zstd", content, asZstd);
    expect(encoding).toBe("zstd");
    expect(bytes).toBeLessThan(sizeBytes * 0.7 + 1000);
  }
});

test.each([100, ...SIZES])(
  "zstd at rest: %i bytes that do not compress, or are few, stay as they came",
  async (size) => {
    const { encoding } = await storedAs("zstd", randomContent(random, size), false);
    expect(encoding).toBe("identity");
  },
);

test.each(SIZES)("identity at rest: %i bytes that came as zstd are stored as they are", async (sizeBytes) => {
  const { encoding, bytes } = await storedAs("identity", textContent(random, sizeBytes), true);
  expect(encoding).toBe("identity");
  expect(bytes).toBeGreaterThanOrEqual(sizeBytes);
});

test.each(SIZES)("by default %i bytes are stored as they were uploaded", async (sizeBytes) => {
  const content = textContent(random, sizeBytes);
  expect((await storedAs("as-uploaded", content, true)).encoding).toBe("zstd");
  expect((await storedAs("as-uploaded", content, false)).encoding).toBe("identity");
});
