import { expect } from "vitest";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import type { EntryStore } from "../../src/cache/entry-store.ts";
import { openListenerStore } from "../support/listener-store.ts";
import { MIB, openTestEngine } from "../support/test-engine.ts";
import { describeBlobStore } from "./blob-store-contract.ts";
import { describeEntryStore } from "./entry-store-contract.ts";

/** How the two listeners share the work. */
type Division = (main: EntryStore, listener: EntryStore) => EntryStore;

const allByListener: Division = (_main, listener) => listener;
const writtenByListener: Division = (main, listener) => ({
  peek: (...args) => main.peek(...args),
  find: (...args) => main.find(...args),
  get: (...args) => main.get(...args),
  prefetch: (...args) => main.prefetch(...args),
  stage: (...args) => listener.stage(...args),
  attach: (...args) => listener.attach(...args),
  put: (...args) => listener.put(...args),
  putAll: (...args) => listener.putAll(...args),
});

/** Besides the contract: no listener leaves anything staged, and the ledger counts what the segments hold. */
async function openChecked(division: Division, options: Parameters<typeof openTestEngine>[0] = {}) {
  const engine = await openTestEngine({ listenerCount: 2, ...options });
  const listener = await openListenerStore(engine.store);
  return {
    store: division(engine.store, listener.store),
    async close() {
      const { stagingFileBytes, bytesUsed, totals } = engine.store.stats();
      const { stagingMemoryBytes } = listener.store;
      await listener.end();
      await engine.close();
      expect([stagingMemoryBytes, stagingFileBytes], "staging left in use").toEqual([0, 0]);
      expect(bytesUsed, "ledger against segments").toBe(totals.segmentBytes);
    },
  };
}

describeEntryStore("ListenerStore", () => openChecked(allByListener));
describeEntryStore("ListenerStore with a slab of four blocks", () =>
  openChecked(allByListener, { stagingMemoryBytes: 256 * 1024 }),
);
describeEntryStore("what a listener thread writes and another reads", () =>
  openChecked(writtenByListener, { segmentBytesMax: MIB, shardCount: 3 }),
);

describeBlobStore("EntryBlobStore over ListenerStore", async () => {
  const opened = await openChecked(allByListener);
  return { ...opened, store: new EmptyBlobStore(new EntryBlobStore(opened.store)) };
});
