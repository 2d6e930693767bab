import { describe, expect, test } from "vitest";
import { EntryActionCache } from "../../src/cache/entry-action-cache.ts";
import { actionKey } from "../../src/cache/entry-key.ts";
import { expectSameBytes } from "../contract/entry-store-contract.ts";
import { contentOf } from "../support/cas-content.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";

const { digest: action } = contentOf(Buffer.from("action"));

describe("EntryActionCache", () => {
  test("gives back what was put, and the last put wins", async () => {
    const actions = new EntryActionCache(new MemoryEntryStore());
    await actions.put("", action, Buffer.from("first"));
    await actions.put("", action, Buffer.from("second"));
    expectSameBytes(await actions.get("", action), Buffer.from("second"));
  });

  test("instances do not share their actions", async () => {
    const actions = new EntryActionCache(new MemoryEntryStore());
    await actions.put("a", action, Buffer.from("of a"));
    expect(await actions.get("b", action)).toBeUndefined();
    expect(await actions.get("", action)).toBeUndefined();
  });

  test("a hit renews the lease, a miss opens nothing", async () => {
    const entries = new MemoryEntryStore();
    const actions = new EntryActionCache(entries);
    expect(await actions.get("", action)).toBeUndefined();
    expect(entries.renewed).toHaveLength(0);
    await actions.put("", action, Buffer.from("value"));
    await actions.get("", action);
    expect(entries.renewed).toHaveLength(1);
    expect(entries.openContents).toBe(0);
  });

  test("an entry that is retired becomes a miss", async () => {
    const entries = new MemoryEntryStore();
    const actions = new EntryActionCache(entries);
    await actions.put("", action, Buffer.from("value"));
    entries.retire(actionKey("", action));
    expect(await actions.get("", action)).toBeUndefined();
  });
});
