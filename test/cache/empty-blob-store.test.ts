import { describe, expect, test } from "vitest";
import { DIGEST_FUNCTIONS, parseDigest } from "../../src/cache/digest.ts";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { expectCode } from "../contract/entry-store-contract.ts";
import { collect, contentOf } from "../support/cas-content.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";
import { missingDigests } from "../support/missing-digests.ts";

function emptyOver() {
  const entries = new MemoryEntryStore();
  return { entries, blobs: new EmptyBlobStore(new EntryBlobStore(entries)) };
}

describe("the empty blob", () => {
  const functions = Object.entries(DIGEST_FUNCTIONS) as [keyof typeof DIGEST_FUNCTIONS, { emptyHash: string }][];

  test.each(functions)("is always present for %s and never stored", async (fn, { emptyHash }) => {
    const { entries, blobs } = emptyOver();
    const empty = parseDigest(emptyHash, 0, fn);
    expect(blobs.peek(empty)).toBe(true);
    expect(await missingDigests(blobs, [empty, empty])).toEqual([]);
    const content = await blobs.get(empty);
    expect(content?.sizeBytes).toBe(0);
    expect(await content?.bytes()).toHaveLength(0);
    expect(await collect((await blobs.get(empty))!)).toHaveLength(0);
    await blobs.put(empty, Buffer.alloc(0));
    const staged = await blobs.stage(empty);
    await staged.commit();
    expect(entries.stagedEver).toBe(0);
    expect(entries.renewed).toEqual([]);
  });

  test("has no byte to read past offset 0 and takes none", async () => {
    const { blobs } = emptyOver();
    const { digest } = contentOf(Buffer.alloc(0));
    expect(await (await blobs.get(digest, { offset: 0, limit: 9 }))?.bytes()).toHaveLength(0);
    await expectCode("out_of_range", () => blobs.get(digest, { offset: 1 }));
    await expectCode("invalid_argument", () => blobs.put(digest, Buffer.of(1)));
  });

  test("is left out of a look-up of others, which keep their order", async () => {
    const { blobs } = emptyOver();
    const [empty, a, b] = ["", "a", "b"].map((text) => contentOf(Buffer.from(text)).digest);
    expect(await missingDigests(blobs, [b!, empty!, a!])).toEqual([b, a]);
  });
});
