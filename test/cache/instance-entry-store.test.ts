import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { actionKey, casHashKey, casKey, recipeKey } from "../../src/cache/entry-key.ts";
import type { EntryStore } from "../../src/cache/entry-store.ts";
import { InstanceEntryStore } from "../../src/cache/instance-entry-store.ts";
import { verifyStore } from "../../src/storage/verify-store.ts";
import { expectCode } from "../contract/entry-store-contract.ts";
import { type CasContent, contentOf, randomContent } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { MIB, openTestEngine, type TestEngine } from "../support/test-engine.ts";

const random = seededRandom(testSeed("InstanceEntryStore"));
let directory: TemporaryDirectory;
let engine: TestEngine;
let stores: Record<"shared" | "one" | "other", EntryStore>;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("instances");
  await open();
});
afterEach(async () => {
  await engine.close();
  await directory[Symbol.asyncDispose]();
});

async function open(): Promise<void> {
  engine = await openTestEngine({ directory: directory.path });
  const { store } = engine;
  stores = { shared: store, one: new InstanceEntryStore(store, "one"), other: new InstanceEntryStore(store, "other") };
}

async function read(store: EntryStore, { digest }: CasContent): Promise<Buffer | undefined> {
  const content = await store.get(casKey(digest));
  return content && Buffer.from(await content.bytes());
}

/** The stores in which the content is there, by every way to ask. */
async function whereFound(content: CasContent): Promise<string[]> {
  const found: string[] = [];
  for (const [name, store] of Object.entries(stores)) {
    const key = casKey(content.digest);
    const bytes = await read(store, content);
    const answers = [store.peek(key), store.find(key, { renew: true }) !== undefined, bytes !== undefined];
    answers.push(store.find(casHashKey(content.digest)) !== undefined);
    expect(new Set(answers).size).toBe(1);
    if (bytes === undefined) continue;
    expect(bytes.equals(content.bytes)).toBe(true);
    found.push(name);
  }
  return found;
}

describe("a blob of one instance", () => {
  test.each([1, 100_000, 3 * MIB, 12 * MIB])("of %i bytes is there for no other", async (size) => {
    const content = randomContent(random, size);
    const staged = await stores.one.stage(casKey(content.digest));
    await staged.write(content.bytes);
    await staged.commit();
    expect(await whereFound(content)).toEqual(["one"]);
    await stores.shared.put(casKey(content.digest), content.bytes);
    expect(await whereFound(content)).toEqual(["shared", "one"]);
    await stores.other.put(casKey(content.digest), content.bytes);
    expect(await whereFound(content)).toEqual(["shared", "one", "other"]);
  });

  test("that came in a batch is there for no other", async () => {
    const contents = [1000, 50_000, 2].map((size) => randomContent(random, size));
    const puts = contents.map(({ digest, bytes }) => ({ key: casKey(digest), bytes }));
    expect(await stores.one.putAll(puts)).toEqual([undefined, undefined, undefined]);
    for (const content of contents) expect(await whereFound(content)).toEqual(["one"]);
  });

  test.each([10, 12 * MIB])("is refused where its %i bytes have another hash", async (size) => {
    const content = randomContent(random, size);
    const wrong = contentOf(Buffer.from(content.bytes).fill(0, 0, 1).fill(1, 1, 2));
    await expectCode("invalid_argument", () => stores.one.put(casKey(content.digest), wrong.bytes));
    expect(await whereFound(content)).toEqual([]);
  });

  test("moves between threads as any other", async () => {
    const content = randomContent(random, 100_000);
    const staged = await stores.one.stage(casKey(content.digest));
    await staged.write(content.bytes.subarray(0, 1000));
    const attached = await stores.one.attach(casKey(content.digest), await staged.detach());
    await attached.write(content.bytes.subarray(1000));
    await attached.commit();
    expect(await whereFound(content)).toEqual(["one"]);
  });

  test("is there after a restart, and verify finds nothing wrong with it", async () => {
    const contents = [100, 12 * MIB].map((size) => randomContent(random, size));
    for (const { digest, bytes } of contents) await stores.one.put(casKey(digest), bytes);
    await engine.close();
    const { recordCount, damage } = verifyStore(directory.path, () => undefined);
    expect([recordCount, damage]).toEqual([2, []]);
    await open();
    for (const content of contents) expect(await whereFound(content)).toEqual(["one"]);
  });
});

test("a recipe is the instance's own, and lies in the shard of its blob", async () => {
  const { digest } = randomContent(random, 1000);
  await stores.one.put(recipeKey(casKey(digest)), Buffer.from("recipe"));
  const has = Object.values(stores).map((store) => store.peek(recipeKey(casKey(digest))));
  expect(has).toEqual([false, true, false]);
});

test("what has the instance in its name is filed as ever", async () => {
  const { digest } = randomContent(random, 1000);
  const key = actionKey("one", digest);
  await stores.one.put(key, Buffer.from("result"));
  expect(stores.shared.find(key)).toBe(6);
});
