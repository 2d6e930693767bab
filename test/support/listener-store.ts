import { DiskLedger } from "../../src/storage/disk-ledger.ts";
import type { EngineLogger } from "../../src/storage/engine-options.ts";
import { ListenerStore } from "../../src/storage/listener/listener-store.ts";
import type { StorageEngine } from "../../src/storage/storage-engine.ts";

const SILENT: EngineLogger = { info: () => undefined, warn: () => undefined, error: () => undefined };

export interface OpenListenerStore {
  readonly store: ListenerStore;
  /** Of the temp files of all listeners. */
  readonly fileBudget: DiskLedger;
  /** Ends the listener as its thread's end does: what it has staged is left behind. */
  end(): Promise<void>;
}

/** The store of a listener thread, in this thread: only messages and shared memory lie between it and the engine. */
export async function openListenerStore(engine: StorageEngine, listenerIndex = 1): Promise<OpenListenerStore> {
  const data = engine.attachListener(listenerIndex);
  const store = await ListenerStore.open(data, { logger: SILENT });
  return {
    store,
    fileBudget: new DiskLedger(data.sizes.stagingDiskBytes, data.fileBudget),
    async end() {
      store[Symbol.dispose]();
      await engine.listenerEnded(listenerIndex);
    },
  };
}
