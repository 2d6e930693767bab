import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { OwnedEntryStore } from "../../src/cache/owned-entry-store.ts";
import type { EngineOptions } from "../../src/storage/engine-options.ts";
import { type CasContent, randomContents } from "../support/cas-content.ts";
import { openListenerStore } from "../support/listener-store.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { MIB, openTestEngine, type TestEngine } from "../support/test-engine.ts";

const KIB = 1024;
const MAX_BYTES = 8 * MIB;
const random = seededRandom(testSeed("fair share"));
let directory: TemporaryDirectory;
let engine: TestEngine;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("fair-share");
});
afterEach(async () => {
  await engine.close();
  await directory[Symbol.asyncDispose]();
});

async function open(options: Partial<EngineOptions> = {}): Promise<void> {
  engine = await openTestEngine({
    directory: directory.path,
    maxBytes: MAX_BYTES,
    maxBytesMin: MIB,
    segmentBytesMax: 64 * KIB,
    stagingMemoryBytes: 4 * MIB,
    durability: "relaxed",
    fairShare: true,
    ...options,
  });
}

const instance = (name: string): OwnedEntryStore => new OwnedEntryStore(engine.store, engine.store, name);
const contents = (count: number, sizeBytes: number): CasContent[] =>
  randomContents(
    random,
    Array.from({ length: count }, () => sizeBytes),
  );

async function putAll(name: string, values: readonly CasContent[]): Promise<void> {
  const failures = await instance(name).putAll(values);
  expect(failures.filter((failure) => failure !== undefined)).toEqual([]);
}

/** Uploads of about this many bytes that nobody will ask for. */
async function flood(name: string, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes; sent += 16 * 16 * KIB) await putAll(name, contents(16, 16 * KIB));
}

const hashes = (values: readonly CasContent[]): string[] => values.map(({ digest }) => digest.hash);
const present = (values: readonly CasContent[]): string[] => hashes(values.filter(({ key }) => engine.store.peek(key)));
const accounts = (): Record<string, number> =>
  Object.fromEntries(engine.store.accounts().map(({ name, bytes }) => [name ?? "?", bytes]));

describe("a noisy instance that uploads ten times the budget", () => {
  /** Somewhat less than an even share of three quarters. */
  const workingSet = (): CasContent[] => contents(150, 16 * KIB);

  test("takes nothing from a quiet one that has no more than its share", async () => {
    await open();
    const quiet = workingSet();
    await putAll("quiet", quiet);
    await flood("noisy", 10 * MAX_BYTES);
    expect(present(quiet)).toEqual(hashes(quiet));
    for (const { key, bytes } of quiet) {
      expect(Buffer.from(await (await engine.store.get(key))!.bytes()).equals(bytes)).toBe(true);
    }
    expect(accounts()["noisy"]).toBeGreaterThan(MAX_BYTES / 4);
    expect(engine.store.stats().bytesUsed).toBeLessThanOrEqual(MAX_BYTES);
  });

  test("without shares takes all of it", async () => {
    await open({ fairShare: false });
    const quiet = workingSet();
    await engine.store.putAll(quiet);
    for (let sent = 0; sent < 10 * MAX_BYTES; sent += 16 * 16 * KIB) await engine.store.putAll(contents(16, 16 * KIB));
    expect(present(quiet)).toEqual([]);
    expect(engine.store.accounts()).toEqual([]);
  });

  test("takes nothing after a restart either, by footers or by checkpoint, nor from uploads of a listener thread", async () => {
    await open({ listenerCount: 2 });
    const listener = await openListenerStore(engine.store);
    const quiet = workingSet();
    const ofListener = new OwnedEntryStore(listener.store, listener.store, "quiet");
    expect(new Set(await ofListener.putAll(quiet))).toEqual(new Set([undefined]));
    const before = accounts();
    await listener.end();
    for (const checkpointIntervalMs of [0, 1]) {
      await engine.close();
      await open({ checkpointIntervalMs });
      expect(accounts()["quiet"]).toBe(before["quiet"]);
      await flood("noisy", 2 * MAX_BYTES);
      expect(present(quiet)).toEqual(hashes(quiet));
    }
  });

  test("takes what a quiet one has beyond its share, and leaves about its share", async () => {
    await open();
    await putAll("quiet", contents(400, 16 * KIB));
    await flood("noisy", 4 * MAX_BYTES);
    const { quiet, noisy } = accounts() as { quiet: number; noisy: number };
    expect(quiet).toBeGreaterThan(0.3 * MAX_BYTES);
    expect(quiet).toBeLessThan(0.4 * MAX_BYTES);
    expect(noisy).toBeGreaterThan(0.4 * MAX_BYTES);
  });
});

test("one instance alone keeps its newest, as without shares", async () => {
  await open();
  const [old, fresh] = [contents(20, 16 * KIB), contents(20, 16 * KIB)];
  await putAll("only", old);
  await flood("only", 2 * MAX_BYTES);
  await putAll("only", fresh);
  expect(present(old)).toEqual([]);
  expect(present(fresh)).toEqual(hashes(fresh));
});

describe("an instance with a quota", () => {
  const QUOTA_BYTES = MIB;
  const quotaOf = (name: string): number | undefined => (name === "noisy" ? QUOTA_BYTES : undefined);

  test("that uploads ten times the budget loses its own oldest, and nobody else anything", async () => {
    await open({ quotaOf });
    // More than an even share: together they have no more than three quarters.
    const quiet = contents(270, 16 * KIB);
    await putAll("quiet", quiet);
    const newest = contents(16, 16 * KIB);
    for (let sent = 0; sent < 10 * MAX_BYTES; sent += 16 * 16 * KIB) {
      await putAll("noisy", contents(16, 16 * KIB));
      expect(accounts()["noisy"]).toBeLessThanOrEqual(QUOTA_BYTES);
    }
    await putAll("noisy", newest);
    expect(present(newest)).toEqual(hashes(newest));
    expect(present(quiet)).toEqual(hashes(quiet));
    expect(accounts()["noisy"]).toBeGreaterThan(QUOTA_BYTES / 2);
  });

  test("is told to come again where all that it has is leased, in any thread, and others are not", async () => {
    await open({ quotaOf, listenerCount: 2, minLeaseMs: 3_600_000 });
    const leased = contents(60, 16 * KIB);
    await putAll("noisy", leased);
    for (const { key } of leased) engine.store.find(key, { renew: true });
    const other = await openListenerStore(engine.store);
    const [small, large] = [contents(16, 16 * KIB), contents(1, 100 * KIB)] as [CasContent[], [CasContent]];
    const refused = { code: "resource_exhausted", retryAfterMs: 10_000, message: expect.stringContaining("quota") };
    for (const store of [engine.store, other.store]) {
      const noisy = new OwnedEntryStore(store, store, "noisy");
      expect(await noisy.putAll(small)).toEqual(small.map(() => expect.objectContaining(refused)));
      await expect(noisy.put(large[0].key, large[0].bytes)).rejects.toMatchObject(refused);
      await expect(async () => noisy.stage(large[0].key)).rejects.toMatchObject(refused);
    }
    expect(present(leased)).toEqual(hashes(leased));
    await putAll("quiet", small);
    expect(present(small)).toEqual(hashes(small));
    await other.end();
  });

  test("never has room for what is larger", async () => {
    await open({ quotaOf });
    const [large] = randomContents(random, [QUOTA_BYTES]) as [CasContent];
    await expect(instance("noisy").put(large.key, large.bytes)).rejects.toMatchObject({ code: "resource_exhausted" });
    await putAll("quiet", [large]);
  });

  test("that has less after a restart is trimmed to it", async () => {
    await open();
    await putAll("noisy", contents(128, 16 * KIB));
    await engine.close();
    await open({ quotaOf });
    await expect.poll(() => accounts()["noisy"], { timeout: 30_000 }).toBeLessThanOrEqual(QUOTA_BYTES);
    expect(accounts()["noisy"]).toBeGreaterThan(QUOTA_BYTES / 2);
  });
});

describe("the names of instances", () => {
  const file = (): string => join(directory.path, "instances.json");

  test("are found again at the next start, and those of whom nothing is left are forgotten", async () => {
    await open();
    await putAll("gone", contents(5, 16 * KIB));
    await engine.close();
    await open({ fairShare: false });
    for (let sent = 0; sent < 2 * MAX_BYTES; sent += 16 * 16 * KIB) await engine.store.putAll(contents(16, 16 * KIB));
    await engine.close();
    await open();
    await putAll("small", contents(1, 10));
    await engine.close();
    await open();
    await putAll("new", contents(1, 10));
    expect(Object.keys(accounts()).toSorted()).toEqual(["new", "small"]);
    await engine.close();
    const { instances } = JSON.parse(readFileSync(file(), "utf8")) as { instances: { number: number; name: string }[] };
    expect(instances.map(({ number, name }) => [number, name])).toEqual([
      [1, "small"],
      [2, "new"],
    ]);
  });

  test.each(["lost", "damaged"])(
    "where they are %s, what was stored stays on its account and keeps its share",
    async (how) => {
      await open();
      const quiet = contents(20, 16 * KIB);
      await putAll("quiet", quiet);
      const before = accounts();
      await engine.close();
      writeFileSync(file(), how === "lost" ? "" : '{ "version": 1, "instances": [{ "number": -1 }] }');
      await open();
      expect(accounts()).toEqual({ "?": before["quiet"] });
      await flood("noisy", 2 * MAX_BYTES);
      expect(present(quiet)).toEqual(hashes(quiet));
      await putAll("quiet", contents(1, 10));
      expect(Object.keys(accounts()).toSorted()).toEqual(["?", "noisy", "quiet"]);
    },
  );

  test("are made by an upload and not by asking for something", async () => {
    await open();
    const [blob] = contents(1, 10) as [CasContent];
    instance("asks").find(blob.key);
    await putAll("uploads", [blob]);
    await engine.close();
    expect(readFileSync(file(), "utf8")).not.toContain("asks");
  });

  test("are not written where no accounts are kept", async () => {
    await open({ fairShare: false });
    await engine.store.putAll(contents(1, 10));
    await engine.close();
    expect(existsSync(file())).toBe(false);
  });
});
