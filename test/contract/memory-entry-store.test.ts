import { expect } from "vitest";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";
import { describeBlobStore } from "./blob-store-contract.ts";
import { describeEntryStore } from "./entry-store-contract.ts";

/** Besides the contract: every upload and every content that a test opened is over at its end. */
function expectNothingOpen(entries: MemoryEntryStore): void {
  expect(entries.openStaged, "uploads left open").toBe(0);
  expect(entries.stagedBytes, "bytes left staged").toBe(0);
  expect(entries.openContents, "contents left open").toBe(0);
}

describeEntryStore("MemoryEntryStore", async () => {
  const store = new MemoryEntryStore();
  return { store, close: async () => expectNothingOpen(store) };
});

describeBlobStore("EntryBlobStore", async () => {
  const entries = new MemoryEntryStore();
  return { store: new EntryBlobStore(entries), close: async () => expectNothingOpen(entries) };
});

describeBlobStore("EmptyBlobStore", async () => {
  const entries = new MemoryEntryStore();
  return { store: new EmptyBlobStore(new EntryBlobStore(entries)), close: async () => expectNothingOpen(entries) };
});
