import { describe, expect, it } from "vitest";
import type { ActionCache } from "../../src/cache/action-cache.ts";
import type { CacheMeter } from "../../src/cache/cache-meter.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { MeasuredActionCache } from "../../src/cache/measured-action-cache.ts";
import { MeasuredBlobStore } from "../../src/cache/measured-blob-store.ts";
import { describeBlobStore } from "../contract/blob-store-contract.ts";
import { digestOf } from "../support/cache-client.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";

const BLOB = Buffer.from("ten bytes!");

/** Sums by `kind result` and `kind direction`. */
class SummingMeter implements CacheMeter {
  readonly sums: Record<string, number> = {};

  countLookups(kind: string, result: string, count: number): void {
    this.#add(`${kind} ${result}`, count);
  }

  countBytes(kind: string, direction: string, bytes: number): void {
    this.#add(`${kind} ${direction}`, bytes);
  }

  #add(name: string, amount: number): void {
    this.sums[name] = (this.sums[name] ?? 0) + amount;
  }
}

describeBlobStore("MeasuredBlobStore", async () => {
  const store = new MeasuredBlobStore(new EntryBlobStore(new MemoryEntryStore()), new SummingMeter());
  return { store, close: async () => {} };
});

describe("MeasuredBlobStore", () => {
  it("counts what a read gives, for ranges too, and misses", async () => {
    const meter = new SummingMeter();
    const store = new MeasuredBlobStore(new EntryBlobStore(new MemoryEntryStore()), meter);
    await store.put(digestOf(BLOB), BLOB);
    for (const range of [undefined, { offset: 4 }, { offset: 8, limit: 100 }, { offset: 0, limit: 1 }]) {
      (await store.get(digestOf(BLOB), range))?.close();
    }
    await store.get(digestOf(Buffer.from("absent")));
    expect(meter.sums).toEqual({ "cas written": 10, "cas hit": 4, "cas miss": 1, "cas read": 10 + 6 + 2 + 1 });
  });

  it("counts an upload once it is committed, and none that is discarded or refused", async () => {
    const meter = new SummingMeter();
    const store = new MeasuredBlobStore(new EntryBlobStore(new MemoryEntryStore()), meter);
    const discarded = await store.stage(digestOf(BLOB));
    await discarded.write(BLOB);
    await discarded.discard();
    const refused = await store.stage(digestOf(BLOB));
    await refused.write(Buffer.from("other byte"));
    await expect(refused.commit()).rejects.toThrow("hash");
    expect(meter.sums).toEqual({});
    const taken = await store.stage(digestOf(BLOB));
    await taken.write(BLOB);
    await taken.commit();
    expect(meter.sums).toEqual({ "cas written": 10 });
  });
});

describe("MeasuredActionCache", () => {
  it("counts hits, misses and bytes", async () => {
    const meter = new SummingMeter();
    const results = new Map<string, Uint8Array>();
    const inner: ActionCache = {
      get: async (instanceName) => results.get(instanceName),
      put: async (instanceName, _action, actionResult) => void results.set(instanceName, actionResult),
    };
    const actions = new MeasuredActionCache(inner, meter);
    await actions.get("main", digestOf(BLOB));
    await actions.put("main", digestOf(BLOB), BLOB);
    expect(await actions.get("main", digestOf(BLOB))).toBe(BLOB);
    expect(meter.sums).toEqual({ "ac miss": 1, "ac hit": 1, "ac written": 10, "ac read": 10 });
  });
});
