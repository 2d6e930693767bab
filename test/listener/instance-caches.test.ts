import { expect, test } from "vitest";
import type { Digest } from "../../src/cache/digest.ts";
import type { EntryKey } from "../../src/cache/entry-key.ts";
import { InstanceCaches } from "../../src/listener/instance-caches.ts";
import { contentOf, digestOf } from "../support/cas-content.ts";
import { LocalScanner } from "../support/local-scanner.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";

/** Notes what is read. */
class WatchedEntryStore extends MemoryEntryStore {
  readonly readKeys: EntryKey[] = [];

  override get(...args: Parameters<MemoryEntryStore["get"]>): ReturnType<MemoryEntryStore["get"]> {
    this.readKeys.push(args[0]);
    return super.get(...args);
  }
}

/** Of an action whose result refers to one Tree, which is empty. */
function fixture(rememberedBytesMax: number) {
  const tree = contentOf(Buffer.from("a tree"));
  const entries = new WatchedEntryStore();
  const caches = new InstanceCaches({
    entries,
    scope: "shared",
    owners: undefined,
    scanner: new LocalScanner(),
    references: {
      ofActionResult: () => ({ blobs: [], trees: [tree.digest], rootDirectories: [] }),
      ofTree: (): Digest[] => [],
      ofDirectory: () => ({ files: [], directories: [] }),
    },
    rememberedBytesMax,
  });
  const isTree = ({ space, words }: EntryKey): boolean =>
    space === tree.key.space && words.every((word, i) => word === tree.key.words[i]);
  return { caches, tree, treeReads: () => entries.readKeys.filter(isTree).length };
}

test.each([
  [0, 3],
  [64 * 1024, 1],
])(
  "with %i bytes to remember what results refer to in, three hits read a Tree %i times",
  async (bytesMax, readCount) => {
    const { caches, tree, treeReads } = fixture(bytesMax);
    const { blobs, actions } = caches.of("main");
    const action = digestOf(Buffer.from("action"));
    await blobs.put(tree.digest, tree.bytes);
    await actions.put("main", action, Buffer.from("a result"));
    for (let i = 0; i < 3; i++) expect(await actions.get("main", action)).toBeDefined();
    expect(treeReads()).toBe(readCount);
  },
);
