import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { BlobStore } from "../../src/cache/blob-store.ts";
import {
  ClosureMemory,
  CompleteActionCache,
  type CompleteActionCacheOptions,
} from "../../src/cache/complete-action-cache.ts";
import type { Digest } from "../../src/cache/digest.ts";
import type { DigestList } from "../../src/cache/digest-list.ts";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryActionCache } from "../../src/cache/entry-action-cache.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { casKey } from "../../src/cache/entry-key.ts";
import type { OutputReferencesReader } from "../../src/cache/output-references.ts";
import { expectSameBytes } from "../contract/entry-store-contract.ts";
import { contentOf, digestOf } from "../support/cas-content.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";

/** References as JSON, because the domain does not know what the edges encode them in. */
const jsonReferences: OutputReferencesReader = {
  ofActionResult: (bytes) => ({ blobs: [], trees: [], rootDirectories: [], ...parseJson(bytes) }),
  ofTree: (bytes) => parseJson(bytes) as Digest[],
  ofDirectory: (bytes) => ({ files: [], directories: [], ...parseJson(bytes) }),
};

function parseJson(bytes: Uint8Array): object {
  return JSON.parse(Buffer.from(bytes).toString());
}

const action = digestOf(Buffer.from("action"));

class CountingBlobStore extends EmptyBlobStore {
  lookups: number[] = [];
  reads = 0;
  override get(...args: Parameters<EmptyBlobStore["get"]>): ReturnType<EmptyBlobStore["get"]> {
    this.reads++;
    return super.get(...args);
  }
  override findMissing(digests: DigestList): Promise<number[]> {
    this.lookups.push(digests.count);
    return super.findMissing(digests);
  }
}

function fixture(options: CompleteActionCacheOptions = {}) {
  const entries = new MemoryEntryStore();
  const blobs = new CountingBlobStore(new EntryBlobStore(entries));
  const actions = new CompleteActionCache(new EntryActionCache(entries), blobs, jsonReferences, options);
  return {
    entries,
    blobs,
    store: (value: unknown) => storeBlob(blobs, typeof value === "string" ? value : JSON.stringify(value)),
    retire: (digest: Digest) => entries.retire(casKey(digest)),
    put: (result: unknown) => actions.put("main", action, Buffer.from(JSON.stringify(result))),
    putRaw: (bytes: string) => actions.put("main", action, Buffer.from(bytes)),
    isHit: async () => (await actions.get("main", action)) !== undefined,
    actions,
  };
}

async function storeBlob(blobs: BlobStore, text: string): Promise<Digest> {
  const { digest, bytes } = contentOf(Buffer.from(text));
  await blobs.put(digest, bytes);
  return digest;
}

const absent = digestOf(Buffer.from("never stored"));

describe("CompleteActionCache", () => {
  test("an unknown action is a miss, and nothing is looked up for it", async () => {
    const { isHit, blobs } = fixture();
    expect(await isHit()).toBe(false);
    expect(blobs.lookups).toEqual([]);
  });

  test("a result without outputs is a hit and comes back as it was put", async () => {
    const { put, actions } = fixture();
    await put({});
    expectSameBytes(await actions.get("main", action), Buffer.from("{}"));
    expect(await actions.get("other", action)).toBeUndefined();
  });

  test("I8: a result is a hit only while every blob that it names is present", async () => {
    const { put, store, retire, isHit } = fixture();
    const [a, b] = [await store("a"), await store("b")];
    await put({ blobs: [a, b] });
    expect(await isHit()).toBe(true);
    retire(b);
    expect(await isHit()).toBe(false);
    await store("b");
    expect(await isHit()).toBe(true);
  });

  test("I8: a Tree counts with every file in it", async () => {
    const { put, store, retire, isHit } = fixture();
    const files = [await store("1"), await store("2"), await store("3")];
    const tree = await store(files);
    await put({ trees: [tree] });
    expect(await isHit()).toBe(true);
    for (const file of files) {
      retire(file);
      expect(await isHit()).toBe(false);
      await Promise.all(["1", "2", "3"].map(store));
    }
    retire(tree);
    expect(await isHit()).toBe(false);
  });

  test("I8: a root directory counts with everything below it", async () => {
    const { put, store, retire, isHit } = fixture();
    const leaf = await store("leaf");
    const bottom = await store({ files: [leaf] });
    const middle = await store({ directories: [bottom] });
    const root = await store({ files: [leaf], directories: [middle] });
    await put({ rootDirectories: [root] });
    expect(await isHit()).toBe(true);
    for (const digest of [bottom, leaf, middle, root]) {
      retire(digest);
      expect(await isHit()).toBe(false);
      await store("leaf");
      await store({ files: [leaf] });
      await store({ directories: [bottom] });
      await store({ files: [leaf], directories: [middle] });
    }
    expect(await isHit()).toBe(true);
  });

  test("I8: a hit renews the lease of every blob behind it, each once", async () => {
    const { put, store, isHit, entries } = fixture();
    const [file, inTree, inDirectory] = [await store("file"), await store("tree file"), await store("dir file")];
    const tree = await store([inTree, file]);
    const root = await store({ files: [inDirectory, file] });
    await put({ blobs: [file, file], trees: [tree, tree], rootDirectories: [root] });
    entries.renewed.length = 0;
    expect(await isHit()).toBe(true);
    const hashes = entries.renewed.map((key) => key.split("/")[1]);
    for (const { hash } of [file, inTree, inDirectory, tree, root]) {
      expect(hashes.filter((other) => other === hash)).toHaveLength(1);
    }
  });

  test("each level takes one look-up, whatever its width", async () => {
    const { put, store, isHit, blobs } = fixture();
    const files = await Promise.all(Array.from({ length: 50 }, (_, index) => store(`file ${index}`)));
    const trees = await Promise.all([store(files.slice(0, 25)), store(files.slice(20, 45))]);
    const children = await Promise.all([store({ files: files.slice(45) }), store({ files: [] })]);
    const root = await store({ directories: children });
    await put({ trees, rootDirectories: [root] });
    blobs.lookups = [];
    expect(await isHit()).toBe(true);
    expect(blobs.lookups).toEqual([3, 45, 2, 5]);
  });

  test("a directory that is reached on many ways is read once", async () => {
    const { put, store, isHit, blobs } = fixture();
    // Doubling at each of 40 levels: 2^40 paths, 41 directories.
    let below = await store({ files: [] });
    for (let level = 0; level < 40; level++) below = await store({ directories: [below, below], level });
    await put({ rootDirectories: [below] });
    blobs.lookups = [];
    expect(await isHit()).toBe(true);
    expect(blobs.lookups).toHaveLength(41);
  });

  test("a directory that was first named as a file is walked all the same", async () => {
    const { put, store, isHit } = fixture();
    const root = await store({ files: [absent] });
    await put({ blobs: [root], rootDirectories: [root] });
    expect(await isHit()).toBe(false);
  });

  test("the empty blob counts as present", async () => {
    const { put, isHit } = fixture();
    await put({ blobs: [digestOf(Buffer.alloc(0))] });
    expect(await isHit()).toBe(true);
  });

  test("whatever does not decode is a miss and no error", async () => {
    const { put, putRaw, store, isHit } = fixture();
    await putRaw("no JSON");
    expect(await isHit()).toBe(false);
    await put({ trees: [await store("no tree")] });
    expect(await isHit()).toBe(false);
    await put({ rootDirectories: [await store("no directory")] });
    expect(await isHit()).toBe(false);
  });

  test("results past a bound are misses", async () => {
    const { put, store, isHit } = fixture({ referencesMax: 3, treeBytesMax: 400 });
    const files = await Promise.all(["1", "2", "3", "4"].map(store));
    await put({ blobs: files.slice(0, 3) });
    expect(await isHit()).toBe(true);
    await put({ blobs: files });
    expect(await isHit()).toBe(false);
    await put({ trees: [await store(`[]${" ".repeat(400)}`)] });
    expect(await isHit()).toBe(false);
  });
});

describe("I8: what CompleteActionCache remembers of a result", () => {
  test("spares reading it again, and neither a look-up nor a renewal", async () => {
    const { put, store, isHit, entries, blobs } = fixture();
    const files = await Promise.all(["1", "2", "3"].map(store));
    const root = await store({ files: files.slice(2) });
    await put({ trees: [await store(files.slice(0, 2))], rootDirectories: [root] });
    entries.renewed.length = 0;
    expect(await isHit()).toBe(true);
    const renewed = entries.renewed.splice(0).toSorted();
    blobs.lookups = [];
    blobs.reads = 0;
    expect(await isHit()).toBe(true);
    expect(entries.renewed.toSorted()).toEqual(renewed);
    expect([blobs.reads, blobs.lookups]).toEqual([0, []]);
  });

  test("changes no answer, whatever is stored, retired and updated in between", async () => {
    const names = ["a", "b", "c", "d"];
    const digests = names.map((name) => contentOf(Buffer.from(name)).digest);
    const some = fc.subarray(digests);
    const result = fc.record({ blobs: some, files: some, below: some });
    const step = fc.oneof(
      fc.record({ kind: fc.constantFrom("store" as const, "retire" as const), name: fc.constantFrom(...names) }),
      fc.record({ kind: fc.constantFrom("put" as const, "retireTree" as const, "retireRoot" as const), result }),
      fc.constant({ kind: "get" as const }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const remembering = fixture();
        const nothing = new ClosureMemory(0);
        const forgetful = fixture({ memory: nothing });
        for (const next of steps) {
          const outcomes: unknown[] = [];
          for (const { store, retire, put, isHit, entries } of [remembering, forgetful]) {
            entries.renewed.length = 0;
            if ("name" in next) {
              if (next.kind === "store") await store(next.name);
              else retire(contentOf(Buffer.from(next.name)).digest);
            } else if (next.kind === "get") {
              const hit = await isHit();
              // A miss renews what was looked up before it was known to be one, which may be more or less.
              outcomes.push([hit, hit ? new Set(entries.renewed) : undefined]);
            } else {
              const tree = await store(next.result.files);
              const root = await store({ files: next.result.below });
              await put({ blobs: next.result.blobs, trees: [tree], rootDirectories: [root] });
              if (next.kind === "retireTree") retire(tree);
              if (next.kind === "retireRoot") retire(root);
            }
          }
          expect(outcomes[0]).toEqual(outcomes[1]);
        }
        expect(nothing.bytes).toBe(0);
      }),
    );
  });

  test("more blobs than are looked up in one turn are all checked", async () => {
    const { put, store, retire, isHit, blobs } = fixture();
    const files = await Promise.all(Array.from({ length: 2500 }, (_, index) => store(`file ${index}`)));
    await put({ blobs: files });
    expect(await isHit()).toBe(true);
    blobs.lookups = [];
    expect(await isHit()).toBe(true);
    expect(blobs.lookups).toEqual([]);
    for (const index of [0, 1024, 2499]) {
      retire(files[index]!);
      expect(await isHit()).toBe(false);
      await store(`file ${index}`);
    }
    expect(await isHit()).toBe(true);
  });

  test("stays within its bound, and results past it are hits all the same", async () => {
    const memoryBytesMax = 100_000;
    const memory = new ClosureMemory(memoryBytesMax);
    const { store, actions } = fixture({ memory });
    const files = await Promise.all(Array.from({ length: 40 }, (_, index) => store(`file ${index}`)));
    const result = Buffer.from(JSON.stringify({ blobs: files.slice(0, 20), trees: [await store(files)] }));
    for (let round = 0; round < 2; round++) {
      for (let index = 0; index < 50; index++) {
        const { digest } = contentOf(Buffer.from(`action ${index}`));
        await actions.put("main", digest, result);
        expectSameBytes(await actions.get("main", digest), result);
        expect(memory.bytes).toBeLessThanOrEqual(memoryBytesMax);
      }
    }
    expect(memory.bytes).toBeGreaterThan(memoryBytesMax / 4);
  });
});
