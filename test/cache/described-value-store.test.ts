import { describe, expect, it } from "vitest";
import { DescribedValueStore } from "../../src/cache/described-value-store.ts";
import { VALUE_SPACES } from "../../src/cache/entry-key.ts";
import { EntryValueStore } from "../../src/cache/entry-value-store.ts";
import { collect } from "../support/cas-content.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";

const VALUE = Buffer.alloc(5000, "value");
const DESCRIPTION = { tag: "hmac==", duration: "1234" };

function open(chunkBytes = 1024) {
  const entries = new MemoryEntryStore({ chunkBytes });
  const values = new EntryValueStore(entries, VALUE_SPACES.turborepo);
  return { entries, values, described: new DescribedValueStore(values) };
}

async function store(described: DescribedValueStore, description = DESCRIPTION, value: Uint8Array = VALUE) {
  const staged = await described.stage("name", description, { sizeBytes: value.length });
  await staged.write(value);
  await staged.commit();
}

describe("DescribedValueStore", () => {
  it.each([1, 2, 3, 7, 64, 1024, 100_000])("gives back both, read in pieces of %i bytes", async (chunkBytes) => {
    const { entries, described } = open(chunkBytes);
    await store(described);
    const found = await described.get("name");
    expect(found?.description).toEqual(DESCRIPTION);
    expect(found?.content.sizeBytes).toBe(VALUE.length);
    expect((await collect(found!.content)).equals(VALUE)).toBe(true);
    expect(Buffer.from(await (await described.get("name"))!.content.bytes()).equals(VALUE)).toBe(true);
    expect(entries.openContents).toBe(0);
  });

  it.each([1, 64, 100_000])("describes a value without reading it, in pieces of %i bytes", async (chunkBytes) => {
    const { entries, described } = open(chunkBytes);
    await store(described, DESCRIPTION, Buffer.alloc(200_000));
    expect(await described.describe("name")).toEqual({ description: DESCRIPTION, sizeBytes: 200_000 });
    expect(await described.describe("absent")).toBeUndefined();
    expect(entries.openContents).toBe(0);
  });

  it("takes an empty value and an empty description", async () => {
    const { described } = open();
    await store(described, {} as typeof DESCRIPTION, Buffer.alloc(0));
    const found = await described.get("name");
    expect([found?.description, found?.content.sizeBytes]).toEqual([{}, 0]);
    expect((await found!.content.bytes()).length).toBe(0);
  });

  it("misses what does not begin with a description, and leaves nothing open", async () => {
    const { entries, values, described } = open(2);
    const lying = [[], [1], [1, 2, 0, 0x7b], [2, 2, 0, 0x7b, 0x7d], [1, 2, 0, 0x7b, 0x7b], [1, 1, 0, 0x30]];
    for (const bytes of lying) {
      const staged = await values.stage("name");
      await staged.write(Uint8Array.from(bytes));
      await staged.commit();
      expect(await described.get("name")).toBeUndefined();
    }
    expect(await described.get("absent")).toBeUndefined();
    expect(entries.openContents).toBe(0);
  });

  it("refuses a description that is too long, and stages nothing", async () => {
    const { entries, described } = open();
    await expect(described.stage("name", { tag: "x".repeat(70_000) })).rejects.toThrow("at most 65535 bytes");
    expect(entries.openStaged).toBe(0);
  });

  it("closes the stored content when it is closed unread", async () => {
    const { entries, described } = open();
    await store(described);
    (await described.get("name"))?.content.close();
    expect(entries.openContents).toBe(0);
  });
});
