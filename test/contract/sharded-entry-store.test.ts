import { expect } from "vitest";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { MIB, openTestEngine } from "../support/test-engine.ts";
import { describeBlobStore } from "./blob-store-contract.ts";
import { describeEntryStore } from "./entry-store-contract.ts";

/** Besides the contract: nothing stays staged, and the ledger counts what the segments hold and no more. */
async function openChecked(options: Parameters<typeof openTestEngine>[0] = {}) {
  const engine = await openTestEngine(options);
  return {
    store: engine.store,
    async close() {
      const stats = engine.store.stats();
      await engine.close();
      expect(stats.stagingMemoryBytes, "slab bytes left in use").toBe(0);
      expect(stats.stagingFileBytes, "temp file bytes left reserved").toBe(0);
      expect(stats.bytesUsed, "ledger against segments").toBe(stats.totals.segmentBytes);
    },
  };
}

describeEntryStore("ShardedEntryStore", () => openChecked());
describeEntryStore("ShardedEntryStore with a slab of four blocks", () =>
  openChecked({ stagingMemoryBytes: 128 * 1024 }),
);
describeEntryStore("ShardedEntryStore with small segments", () => openChecked({ segmentBytesMax: MIB, shardCount: 3 }));
describeEntryStore("ShardedEntryStore at durability relaxed", () => openChecked({ durability: "relaxed" }));

async function openBlobs(options: Parameters<typeof openTestEngine>[0] = {}) {
  const engine = await openChecked(options);
  return { ...engine, store: new EmptyBlobStore(new EntryBlobStore(engine.store)) };
}

describeBlobStore("EntryBlobStore over ShardedEntryStore", () => openBlobs());
describeBlobStore("EntryBlobStore over ShardedEntryStore, zstd at rest", () => openBlobs({ atRest: "zstd" }));
describeBlobStore("EntryBlobStore over ShardedEntryStore, identity at rest", () => openBlobs({ atRest: "identity" }), {
  kept: "identity",
});
