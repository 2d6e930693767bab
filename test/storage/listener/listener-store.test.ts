import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { EntryStore } from "../../../src/cache/entry-store.ts";
import { type CasContent, contentOf, randomContent, randomContents } from "../../support/cas-content.ts";
import { type OpenListenerStore, openListenerStore } from "../../support/listener-store.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MIB, openTestEngine, type TestEngine } from "../../support/test-engine.ts";

const KIB = 1024;
const LISTENER_STORE_WORKER_URL = new URL("../../support/listener-store-worker.ts", import.meta.url);
const random = seededRandom(testSeed("listener store"));
let engine: TestEngine;
let listener: OpenListenerStore;
/** The threads of this engine's shards, in the order in which they were started. */
let threads: Worker[];
const noteThread = (worker: Worker): void => void threads.push(worker);

beforeEach(() => {
  threads = [];
  process.on("worker", noteThread);
});
afterEach(async () => {
  await listener.end();
  await engine.close();
  process.off("worker", noteThread);
});

async function open(options: Parameters<typeof openTestEngine>[0] = {}): Promise<void> {
  engine = await openTestEngine({ listenerCount: 2, shardCount: 1, segmentBytesMax: MIB, ...options });
  listener = await openListenerStore(engine.store);
}

async function read(store: EntryStore, { key }: CasContent): Promise<Buffer | undefined> {
  const content = await store.get(key);
  return content === undefined ? undefined : Buffer.from(await content.bytes());
}

async function expectStoredEverywhere(contents: readonly CasContent[]): Promise<void> {
  for (const store of [engine.store, listener.store]) {
    for (const content of contents) expect((await read(store, content))?.equals(content.bytes)).toBe(true);
  }
}

const stagingFiles = (): string[] => readdirSync(join(engine.directory, "staging"));

/** Ends the shard's thread and waits until it is gone. */
async function killShard(): Promise<void> {
  const worker = threads.findLast(({ threadId }) => threadId !== -1);
  if (worker === undefined) throw new Error("no shard thread is running");
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  void worker.terminate();
  await exited;
}

test("what either listener stores, the other finds at once", async () => {
  await open({ shardCount: 3 });
  const stores = [engine.store, listener.store];
  await Promise.all(
    randomContents(random, [0, 1, 4096, 100_000, MIB + 1, 9 * MIB]).map(async (content, i) => {
      const [writer = engine.store, reader = engine.store] = i % 2 === 0 ? stores : stores.toReversed();
      await writer.put(content.key, content.bytes);
      expect(reader.find(content.key)).toBe(content.bytes.length);
      expect((await read(reader, content))?.equals(content.bytes)).toBe(true);
    }),
  );
});

test("two uploads of one blob at two listeners are one record (I4)", async () => {
  await open();
  const content = randomContent(random, 50_000);
  await Promise.all([engine.store, listener.store].map((store) => store.put(content.key, content.bytes)));
  expect(engine.store.stats().totals.appendedRecords).toBe(1);
  await expectStoredEverywhere([content]);
});

test("H28: a shard's death fails the uploads of both listeners, and both go on with the worker that follows", async () => {
  await open();
  const before = randomContents(random, [10, 20_000]);
  for (const { key, bytes } of before) await listener.store.put(key, bytes);
  const lost = [engine.store, listener.store].map(async (store) => {
    const { key, bytes } = randomContent(random, 1000);
    const upload = await store.stage(key);
    await upload.write(bytes);
    return upload;
  });
  const uploads = await Promise.all(lost);
  await killShard();
  // What it held stays readable meanwhile.
  await expectStoredEverywhere(before);
  for (const upload of uploads) await expect(upload.commit()).rejects.toMatchObject({ code: "unavailable" });
  await vi.waitFor(() => expect(engine.store.readOnlyReason).toBeUndefined(), { timeout: 20_000, interval: 5 });

  const after = randomContents(random, [10, 20_000, 2 * MIB]);
  for (const [i, { key, bytes }] of after.entries()) {
    const [writer, other] = i % 2 === 0 ? [engine.store, listener.store] : [listener.store, engine.store];
    await writer.put(key, bytes);
    expect(other.peek(key)).toBe(true);
  }
  await expectStoredEverywhere([...before, ...after]);
});

test("H28: a shard that dies under load acknowledges nothing to either listener that is not there afterwards", async () => {
  await open();
  const stored: CasContent[] = [];
  const uploads = randomContents(
    random,
    Array.from({ length: 200 }, () => random.int(1, 40_000)),
  );
  const uploading = uploads.map(async (content, i) => {
    const store = i % 2 === 0 ? engine.store : listener.store;
    await store.put(content.key, content.bytes);
    stored.push(content);
  });
  await Promise.any(uploading);
  await killShard();
  await Promise.allSettled(uploading);
  await vi.waitFor(() => expect(engine.store.readOnlyReason).toBeUndefined(), { timeout: 20_000, interval: 5 });
  expect(stored.length).toBeGreaterThan(0);
  await expectStoredEverywhere(stored);
});

test("an upload that waits for room at a listener is let in when the main thread's makes some", async () => {
  await open({ stagingDiskBytes: 4 * MIB });
  const held = await engine.store.stage(randomContent(random, 3 * MIB).key);
  const content = randomContent(random, 2 * MIB);
  const waiting = Promise.resolve(listener.store.stage(content.key));
  await vi.waitFor(() => expect(listener.fileBudget.hasWaiters).toBe(true));
  await held.discard();
  const upload = await waiting;
  await upload.write(content.bytes);
  await upload.commit();
  await expectStoredEverywhere([content]);
});

test("and the other way round", async () => {
  await open({ stagingDiskBytes: 4 * MIB });
  const held = await listener.store.stage(randomContent(random, 3 * MIB).key);
  const waiting = Promise.resolve(engine.store.stage(randomContent(random, 2 * MIB).key));
  await vi.waitFor(() => expect(listener.fileBudget.hasWaiters).toBe(true));
  await held.discard();
  await (await waiting).discard();
  expect(engine.store.stats().stagingFileBytes).toBe(0);
});

test("an upload that waits at a listener ends at once when its client goes away, and leaves its place", async () => {
  await open({ stagingDiskBytes: 4 * MIB });
  const held = await engine.store.stage(randomContent(random, 3 * MIB).key);
  const abort = new AbortController();
  const waiting = Promise.resolve(listener.store.stage(randomContent(random, 2 * MIB).key, { signal: abort.signal }));
  await vi.waitFor(() => expect(listener.fileBudget.hasWaiters).toBe(true));
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ code: "cancelled" });
  expect(listener.fileBudget.hasWaiters).toBe(false);
  await held.discard();
});

test("a listener that is too full starts retirement on the main thread, and lets go of what is retired", async () => {
  await open({ maxBytes: 32 * MIB });
  const first = randomContent(random, 100_000);
  await listener.store.put(first.key, first.bytes);
  const opened = await listener.store.get(first.key);
  for (let i = 0; i < 45; i++) {
    const { key, bytes } = randomContent(random, 900 * KIB);
    await listener.store.put(key, bytes);
  }
  await vi.waitFor(() => expect(engine.store.stats().totals.retiredSegments).toBeGreaterThan(0));
  expect(engine.store.stats().bytesUsed).toBeLessThanOrEqual(32 * MIB);
  // Retired or copied forward while it is read: it is read to its end.
  expect(Buffer.from((await opened?.bytes()) ?? []).equals(first.bytes)).toBe(true);
});

test("a listener that ends leaves nothing staged, and the next one in its place has all of its room", async () => {
  await open({ stagingMemoryBytes: 2 * MIB });
  const { bytesUsed } = engine.store.stats();
  const small = randomContent(random, 800 * KIB);
  const large = randomContent(random, 5 * MIB);
  for (const { key, bytes } of [small, large]) {
    const upload = await listener.store.stage(key);
    await upload.write(bytes.subarray(0, 700 * KIB));
  }
  expect(engine.store.stats().bytesUsed).toBeGreaterThan(bytesUsed + 5 * MIB);
  expect(stagingFiles()).toHaveLength(1);
  await listener.end();
  const { stagingFileBytes, ...left } = engine.store.stats();
  expect([left.bytesUsed, stagingFileBytes, stagingFiles()]).toEqual([bytesUsed, 0, []]);

  listener = await openListenerStore(engine.store);
  expect(listener.store.stagingMemoryBytes).toBe(0);
  await listener.store.put(small.key, small.bytes);
  await expectStoredEverywhere([small]);
});

test("what a thread had handed over when it ended is stored whole or not at all, and the ledger comes out even", async () => {
  await open({ listenerCount: 3, stagingMemoryBytes: 12 * MIB });
  const contents = randomContents(random, [10, 30_000, 900_000, 2 * MIB, 9 * MIB]);
  const data = engine.store.attachListener(2);
  const thread = new Worker(LISTENER_STORE_WORKER_URL, {
    workerData: { data, blobs: contents.map(({ bytes }) => bytes) },
    transferList: [data.port],
  });
  const exited = once(thread, "exit");
  await once(thread, "message");
  await thread.terminate();
  await exited;
  await engine.store.listenerEnded(2);
  const found = await Promise.all(contents.map((content) => read(engine.store, content)));
  const torn = contents.filter(({ bytes }, i) => found[i] !== undefined && !bytes.equals(found[i]));
  expect(torn).toEqual([]);
  const { bytesUsed, stagingFileBytes, totals } = engine.store.stats();
  expect([bytesUsed, stagingFileBytes, stagingFiles()]).toEqual([totals.segmentBytes, 0, []]);
});

test.each([100_000, 3 * MIB, 12 * MIB])(
  "an upload of %i bytes moves to another listener between two writes",
  async (size) => {
    await open();
    const { key, bytes } = randomContent(random, size);
    const cut = Math.floor(size / 3);
    const first = await listener.store.stage(key);
    await first.write(bytes.subarray(0, cut));
    const second = await engine.store.attach(key, structuredClone(await first.detach()));
    expect([second.bytesStaged, stagingFiles().length]).toEqual([cut, 1]);
    await second.write(bytes.subarray(cut, 2 * cut));
    const third = await listener.store.attach(key, structuredClone(await second.detach()));
    await third.write(bytes.subarray(2 * cut));
    await third.commit();
    await expectStoredEverywhere([contentOf(bytes)]);
    const { bytesUsed, stagingFileBytes, totals } = engine.store.stats();
    expect([bytesUsed, stagingFileBytes, stagingFiles()]).toEqual([totals.segmentBytes, 0, []]);
    expect(listener.store.stagingMemoryBytes).toBe(0);
  },
);

test("a detached upload that is discarded where it arrives leaves nothing", async () => {
  await open();
  const { key, bytes } = randomContent(random, 50_000);
  const first = await listener.store.stage(key);
  await first.write(bytes.subarray(0, 40_000));
  const second = await engine.store.attach(key, await first.detach());
  await second.discard();
  const { bytesUsed, stagingFileBytes, totals } = engine.store.stats();
  expect([bytesUsed, stagingFileBytes, stagingFiles()]).toEqual([totals.segmentBytes, 0, []]);
});
