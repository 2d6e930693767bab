import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CacheError } from "../../../src/cache/cache-error.ts";
import { actionKey, type EntryKey } from "../../../src/cache/entry-key.ts";
import { type CasContent, randomContent, randomContents } from "../../support/cas-content.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MIB, openTestEngine, type TestEngine } from "../../support/test-engine.ts";

const KIB = 1024;
const random = seededRandom(testSeed("supervised shard"));
let engine: TestEngine;
/** The threads of this engine's shards, in the order in which they were started. */
let threads: Worker[];
const noteThread = (worker: Worker): void => void threads.push(worker);

beforeEach(async () => {
  threads = [];
  process.on("worker", noteThread);
  engine = await openTestEngine({ shardCount: 1, segmentBytesMax: MIB });
});
afterEach(async () => {
  await engine.close();
  process.off("worker", noteThread);
});

/** Ways in which a thread ends by itself. */
const DEATHS: Readonly<Record<string, (worker: Worker) => void>> = {
  "is ended": (worker) => void worker.terminate(),
  // Nobody sends such a message: what its reader throws, nobody catches. An idle thread reads it with its next task.
  "throws what nobody catches": (worker) => {
    worker.postMessage(null);
    void putAll(randomContents(random, [10]));
  },
};

const shardThread = (): Worker => {
  const worker = threads.findLast(({ threadId }) => threadId !== -1);
  if (worker === undefined) throw new Error("no shard thread is running");
  return worker;
};

/** Ends the shard's thread and waits until the engine has seen it. */
async function killShard(kill: (worker: Worker) => void = (worker) => void worker.terminate()): Promise<void> {
  const worker = shardThread();
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  kill(worker);
  await exited;
}

const recovered = (): Promise<void> =>
  vi.waitFor(() => expect(engine.store.readOnlyReason).toBeUndefined(), { timeout: 20_000, interval: 5 });

async function read({ key }: { key: EntryKey }): Promise<Buffer | undefined> {
  const content = await engine.store.get(key);
  return content === undefined ? undefined : Buffer.from(await content.bytes());
}

async function expectStored(contents: readonly CasContent[]): Promise<void> {
  for (const content of contents) expect((await read(content))?.equals(content.bytes)).toBe(true);
}

/** Uploads all at once. @returns those that were acknowledged, and the codes of the others. */
async function putAll(contents: readonly CasContent[]): Promise<{ stored: CasContent[]; codes: string[] }> {
  const stored: CasContent[] = [];
  const codes: string[] = [];
  await Promise.all(
    contents.map(async (content) => {
      try {
        await engine.store.put(content.key, content.bytes);
        stored.push(content);
      } catch (error) {
        codes.push(error instanceof CacheError ? error.code : String(error));
      }
    }),
  );
  return { stored, codes };
}

/** I7: the ledger counts no less than the files take. */
function expectLedgerToCover(): void {
  const sizeOf = (folder: string): number =>
    readdirSync(join(engine.directory, folder)).reduce(
      (sum, name) => sum + statSync(join(engine.directory, folder, name)).size,
      0,
    );
  const onDisk = sizeOf("segments") + sizeOf("checkpoint") + sizeOf("staging");
  expect(engine.store.stats().bytesUsed).toBeGreaterThanOrEqual(onDisk);
}

describe.each(Object.entries(DEATHS))("H28: a shard whose thread %s", (_name, kill) => {
  test("fails its waiters with unavailable, comes back, and has lost nothing that it acknowledged", async () => {
    const before = randomContents(random, [1, 100, 40 * KIB, 300 * KIB, 3 * MIB]);
    expect((await putAll(before)).codes).toEqual([]);
    const pending = putAll(randomContents(random, Array<number>(60).fill(20 * KIB)));
    await killShard(kill);
    const { stored, codes } = await pending;
    expect(codes.filter((code) => code !== "unavailable")).toEqual([]);
    await recovered();
    await expectStored([...before, ...stored]);
    const after = randomContents(random, [10, 50 * KIB, 2 * MIB]);
    expect((await putAll(after)).codes).toEqual([]);
    await expectStored([...before, ...stored, ...after]);
    expectLedgerToCover();
    expect(readdirSync(join(engine.directory, "staging"))).toEqual([]);
  });

  test("gives no heartbeat while it is away", async () => {
    await engine.store.heartbeat();
    await killShard(kill);
    await expect(engine.store.heartbeat()).rejects.toThrow("a storage worker ended unexpectedly");
    await recovered();
    await engine.store.heartbeat();
  });

  test("serves what it has while it is away", async () => {
    const contents = randomContents(random, [100, 40 * KIB, 3 * MIB]);
    await putAll(contents);
    await killShard(kill);
    await expectStored(contents);
    await recovered();
    await expectStored(contents);
  });
});

test("H28: uploads that were staged before the death and end after it are refused or stored, and never lie under older values", async () => {
  const key = actionKey("", randomContent(random, 10).digest);
  let acknowledged = "";
  for (let round = 0; round < 3; round += 1) {
    await engine.store.put(key, Buffer.from((acknowledged = `round ${round}`)));
    const value = `round ${round}, staged before the death`;
    const staged = await engine.store.stage(key, { sizeBytes: value.length });
    await staged.write(Buffer.from(value));
    const filler = putAll(randomContents(random, Array<number>(20).fill(50 * KIB)));
    await killShard();
    await staged.commit().then(
      () => (acknowledged = value),
      (error: unknown) => expect(error).toMatchObject({ code: "unavailable" }),
    );
    await filler;
    await recovered();
    expect((await read({ key }))?.toString()).toBe(acknowledged);
  }
});

test("H28: a thread that dies while it recovers is started once more", async () => {
  const contents = randomContents(random, Array<number>(50).fill(100 * KIB));
  await putAll(contents);
  await killShard();
  await vi.waitFor(() => expect(shardThread()).toBeDefined(), { timeout: 20_000, interval: 1 });
  await killShard();
  await recovered();
  await expectStored(contents);
  expect((await putAll(randomContents(random, [1000]))).codes).toEqual([]);
  expectLedgerToCover();
});

test("H28: a thread that keeps dying leaves the store read-only, with the reason and with its blobs", async () => {
  const contents = randomContents(random, [100, 40 * KIB]);
  await putAll(contents);
  for (let deaths = 1; deaths <= 3; deaths += 1) {
    await killShard();
    await recovered();
  }
  await killShard();
  expect(engine.store.readOnlyReason).toMatch(/^shard 0: its worker died 4 times$/);
  expect((await putAll(randomContents(random, [10, 2 * MIB]))).codes).toEqual(["unavailable", "unavailable"]);
  await expectStored(contents);
  await expect(engine.store[Symbol.asyncDispose]()).resolves.toBeUndefined();
});

test("what a shard acknowledged before its death is there after the next start of the engine", async () => {
  const contents = randomContents(random, [100, 40 * KIB, 3 * MIB]);
  await putAll(contents);
  await killShard();
  await recovered();
  const more = randomContents(random, [200, 60 * KIB]);
  await putAll(more);
  const { directory, store } = engine;
  await store[Symbol.asyncDispose]();
  await using reopened = await openTestEngine({ directory, shardCount: 1, segmentBytesMax: MIB });
  for (const { key, bytes } of [...contents, ...more]) {
    const content = await reopened.store.get(key);
    expect(content === undefined ? undefined : Buffer.from(await content.bytes()).equals(bytes)).toBe(true);
  }
});
