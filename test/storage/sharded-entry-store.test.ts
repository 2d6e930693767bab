import { keyWords } from "../../src/cache/key-words.ts";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type EntryKey, actionKey } from "../../src/cache/entry-key.ts";
import type { EngineOptions } from "../../src/storage/engine-options.ts";
import { shardOfKey } from "../../src/storage/index/index-layout.ts";
import { FORMAT_VERSION } from "../../src/storage/segment/segment-format.ts";
import type { StorageEngine } from "../../src/storage/storage-engine.ts";
import { type CasContent, randomContent, randomContents } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { MIB, openTestEngine, type TestEngine } from "../support/test-engine.ts";

const random = seededRandom(testSeed("ShardedEntryStore"));
const action = randomContent(random, 100);
const valueKey = (name: string): EntryKey => actionKey(name, action.digest);
let directory: TemporaryDirectory;
let engine: TestEngine;
let store: StorageEngine;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("store");
});
afterEach(async () => {
  await engine.close();
  await directory[Symbol.asyncDispose]();
});

async function open(options: Partial<EngineOptions> = {}): Promise<void> {
  engine = await openTestEngine({ ...options, directory: directory.path });
  store = engine.store;
}

async function reopen(options: Partial<EngineOptions> = {}): Promise<void> {
  await engine.close();
  await open(options);
}

const segmentsDirectory = (): string => join(directory.path, "segments");
const segmentFiles = (): string[] => readdirSync(segmentsDirectory()).toSorted();

async function putAll(contents: readonly CasContent[]): Promise<void> {
  await Promise.all(contents.map(({ key, bytes }) => store.put(key, bytes)));
}

async function read({ key }: Pick<CasContent, "key">): Promise<Buffer | undefined> {
  const bytes = await (await store.get(key))?.bytes();
  return bytes === undefined ? undefined : Buffer.from(bytes);
}

async function expectStored(...contents: readonly Pick<CasContent, "key" | "bytes">[]): Promise<void> {
  for (const content of contents) {
    const bytes = await read(content);
    expect(bytes?.length, "size of what is stored").toBe(content.bytes.length);
    expect(bytes?.equals(content.bytes), "the bytes differ").toBe(true);
  }
}

/** Bytes of all files under the data directory, whatever disappears meanwhile. */
function directoryBytes(path = directory.path): number {
  let bytes = 0;
  for (const name of readdirSync(path)) {
    try {
      const found = statSync(join(path, name));
      bytes += found.isDirectory() ? directoryBytes(join(path, name)) : found.size;
    } catch {
      // Retired or handed over since it was listed.
    }
  }
  return bytes;
}

describe("a restart", () => {
  test("I9: keeps every blob and every value of every size, clean or after a kill", async () => {
    await open();
    const contents = randomContents(random, [
      1,
      100,
      32_768,
      300_000,
      MIB + 1,
      3 * MIB,
      9 * MIB,
      ...Array(200).fill(700),
    ]);
    await putAll(contents);
    const values = Array.from({ length: 50 }, (_, i) => ({ key: valueKey(`${i}`), bytes: random.bytes(i * 30) }));
    for (const { key } of values) await store.put(key, Buffer.from("replaced below"));
    for (const { key, bytes } of values) await store.put(key, bytes);
    // As a kill leaves it: unsealed segments, no checkpoint, staged files.
    const killed = await makeTemporaryDirectory("killed");
    for (const folder of ["segments", "staging", "checkpoint"]) {
      mkdirSync(join(killed.path, folder));
      for (const name of readdirSync(join(directory.path, folder))) {
        copyFileSync(join(directory.path, folder, name), join(killed.path, folder, name));
      }
    }
    await reopen();
    await expectStored(...contents, ...values);
    expect(engine.complaints).toEqual([]);
    await engine.close();
    await directory[Symbol.asyncDispose]();
    directory = killed;
    await open();
    await expectStored(...contents, ...values);
  });

  test("with another number of shards keeps everything, and the newest value of each key counts", async () => {
    const contents: CasContent[] = [];
    const newest = new Map<string, Buffer>();
    await open({ shardCount: 2, segmentBytesMax: MIB });
    for (const shardCount of [2, 3, 1, 2, 4, 3]) {
      await reopen({ shardCount, segmentBytesMax: MIB });
      for (const [name, bytes] of newest) await expectStored({ key: valueKey(name), bytes });
      await expectStored(...contents);
      const more = randomContents(random, [10, 5000, 400_000, 2 * MIB]);
      await putAll(more);
      contents.push(...more);
      // Some keys are overwritten in each round, some now and then, some never.
      for (let i = 0; i < 30; i += 1) {
        if (newest.has(`${i}`) && random.int(0, 2) === 0) continue;
        const bytes = random.bytes(random.int(0, i % 10 === 0 ? 2 * MIB : 2000));
        await store.put(valueKey(`${i}`), bytes);
        newest.set(`${i}`, bytes);
      }
      const { bytesUsed } = store.stats();
      expect(bytesUsed).toBeGreaterThanOrEqual(contents.reduce((sum, { bytes }) => sum + bytes.length, 0));
    }
    await reopen({ shardCount: 2, segmentBytesMax: MIB });
    for (const [name, bytes] of newest) await expectStored({ key: valueKey(name), bytes });
    await expectStored(...contents);
    expect(store.stats().entries).toBe(contents.length + newest.size);
  });

  test("tells how many uploads each group commit had, how long each sync took, and how old the oldest segment is", async () => {
    await open({ shardCount: 2, segmentBytesMax: MIB });
    await putAll(randomContents(random, [10, 5000, 400_000, 2 * MIB, ...Array<number>(20).fill(1000)]));
    const { totals, oldestSegmentAgeSeconds, uploadsWaiting } = store.stats();
    const { groupPuts, syncDurationSeconds } = store.histograms();
    const countOf = ({ counts }: { counts: readonly number[] }) => counts.reduce((sum, count) => sum + count, 0);
    const total = (amounts: readonly number[]) => amounts.reduce((sum, amount) => sum + amount, 0);
    expect(total(groupPuts.map(countOf))).toBe(totals.groups);
    expect(total(groupPuts.map(({ sum }) => sum))).toBe(totals.groupedPuts);
    expect(total(syncDurationSeconds.map(countOf))).toBe(totals.syncs);
    expect(total(syncDurationSeconds.map(({ sum }) => sum))).toBeCloseTo(totals.syncSecondsTotal);
    expect(Math.min(totals.groups, totals.syncs)).toBeGreaterThan(0);
    expect(oldestSegmentAgeSeconds).toBeGreaterThan(0);
    expect(uploadsWaiting).toBe(0);
  });

  test("removes what a crash left in staging", async () => {
    mkdirSync(join(directory.path, "staging"), { recursive: true });
    for (const name of ["000000000001.tmp", "anything else"]) {
      writeFileSync(join(directory.path, "staging", name), random.bytes(100));
    }
    await open();
    expect(readdirSync(join(directory.path, "staging"))).toEqual([]);
    expect(store.stats().bytesUsed).toBe(0);
    const content = randomContent(random, 2 * MIB);
    await putAll([content]);
    await expectStored(content);
  });

  test("leaves a foreign file among the segments alone, with a warning", async () => {
    mkdirSync(segmentsDirectory(), { recursive: true });
    for (const name of ["notes.txt", "00000001.seg.bak", "1.seg"]) {
      writeFileSync(join(segmentsDirectory(), name), `kept: ${name}`);
    }
    await open();
    await putAll(randomContents(random, [100, 200]));
    expect(engine.complaints).toHaveLength(3);
    expect(engine.complaints.join()).toContain("foreign");
    await reopen();
    for (const name of ["notes.txt", "00000001.seg.bak", "1.seg"]) {
      expect(readFileSync(join(segmentsDirectory(), name), "utf8")).toBe(`kept: ${name}`);
    }
  });

  test("H25: of a directory of a newer format is refused in one line, and nothing in it is changed", async () => {
    await open();
    await putAll(randomContents(random, [1000]));
    await engine.close();
    const [name] = segmentFiles() as [string];
    const bytes = readFileSync(join(segmentsDirectory(), name));
    const { crc32 } = await import("node:zlib");
    bytes.writeUInt32LE(FORMAT_VERSION + 1, 8);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    writeFileSync(join(segmentsDirectory(), name), bytes);
    await expect(open()).rejects.toMatchObject({
      code: "failed_precondition",
      message: expect.stringMatching(/^[^\n]*version: expected at most \d+, got \d+[^\n]*$/),
    });
    expect(readFileSync(join(segmentsDirectory(), name)).equals(bytes)).toBe(true);
    // It lets go of the directory when it is refused.
    rmSync(join(segmentsDirectory(), name));
    await open();
  });

  test("of less than was there finds a miss for what is gone, and all that is left", async () => {
    await open({ shardCount: 2, segmentBytesMax: MIB });
    const contents = randomContents(random, Array<number>(40).fill(100_000));
    await putAll(contents);
    await engine.close();
    const [gone] = segmentFiles() as [string];
    rmSync(join(segmentsDirectory(), gone));
    await open({ shardCount: 2, segmentBytesMax: MIB });
    const found = await Promise.all(contents.map((content) => read(content)));
    const missing = found.filter((bytes) => bytes === undefined).length;
    expect(missing).toBeGreaterThan(0);
    expect(missing).toBeLessThan(12);
    await expectStored(...contents.filter((_, i) => found[i] !== undefined));
  });
});

describe("H23: a second store on one directory", () => {
  test("is refused in one line while the first is open, does it no harm, and works after it is closed", async () => {
    await open();
    const content = randomContent(random, 1000);
    const staged = await store.stage(content.key);
    await expect(openTestEngine({ directory: directory.path })).rejects.toMatchObject({
      code: "failed_precondition",
      message: `${directory.path} is in use by another Kura process`,
    });
    await staged.write(content.bytes);
    await staged.commit();
    await reopen();
    await expectStored(content);
  });
});

describe("I6, H8: damage on disk", () => {
  /** Finds the payload in the segment files and changes one byte of it. */
  function damage(content: CasContent): void {
    for (const name of segmentFiles()) {
      const path = join(segmentsDirectory(), name);
      const bytes = readFileSync(path);
      const at = bytes.indexOf(content.bytes);
      if (at === -1) continue;
      bytes[at + Math.floor(content.bytes.length / 2)]! ^= 1;
      writeFileSync(path, bytes);
      return;
    }
    throw new Error("the blob is in none of the segments");
  }

  test("under a stored blob is a miss after a restart and no error; others survive; it can be uploaded again", async () => {
    await open();
    const [damaged, large, adopted, ...others] = randomContents(random, [
      5000,
      700_000,
      9 * MIB,
      100,
      2000,
      400_000,
    ]) as [CasContent, CasContent, CasContent, ...CasContent[]];
    await putAll([damaged, large, adopted, ...others]);
    await engine.close();
    for (const content of [damaged, large, adopted]) damage(content);
    await open();
    expect(await read(damaged)).toBeUndefined();
    // A later chunk of a stream that has begun: told as a miss too, and never with a wrong byte.
    for (const content of [large, adopted]) {
      const given: Uint8Array[] = [];
      const stream = await store.get(content.key);
      const reading = (async () => {
        for await (const piece of stream ?? []) given.push(piece);
      })();
      await expect(reading).rejects.toMatchObject({ code: "not_found" });
      expect(content.bytes.subarray(0, Buffer.concat(given).length).equals(Buffer.concat(given))).toBe(true);
    }
    await expectStored(...others);
    for (const content of [damaged, large, adopted]) {
      await expect.poll(() => store.peek(content.key)).toBe(false);
      expect(await read(content)).toBeUndefined();
    }
    await putAll([damaged, large, adopted]);
    await expectStored(damaged, large, adopted, ...others);
    expect(store.stats().totals.quarantinedRecords).toBe(3);
    await reopen();
    await expectStored(damaged, large, adopted, ...others);
  });

  test("of a segment file that is deleted under a running store is a miss, and it can be uploaded again", async () => {
    await open();
    const contents = randomContents(random, [100, 50_000, 300_000, 9 * MIB]);
    await putAll(contents);
    await reopen();
    for (const name of segmentFiles()) rmSync(join(segmentsDirectory(), name));
    for (const content of contents) expect(await read(content)).toBeUndefined();
    for (const { key } of contents) await expect.poll(() => store.peek(key)).toBe(false);
    const more = randomContents(random, [100, 50_000]);
    await putAll(more);
    await putAll(contents.slice(-1));
    await expectStored(contents.at(-1)!);
    expect(more.map(({ key }) => store.find(key))).toEqual([100, 50_000]);
  });

  test("of a segment that is cut short while it is served is a miss and no wrong byte", async () => {
    await open();
    const content = randomContent(random, 9 * MIB);
    await putAll([content]);
    await expectStored(content);
    const [name] = segmentFiles() as [string];
    writeFileSync(join(segmentsDirectory(), name), content.bytes.subarray(0, MIB));
    const reading = (async () => (await store.get(content.key))?.bytes())();
    const outcome = await reading.catch((error: { code: string }) => error.code);
    expect([undefined, "not_found"]).toContain(outcome);
  });
});

describe("values that were read lately", () => {
  test("are given out without a promise, and a new value takes the place of the old at once", async () => {
    await open();
    const key = valueKey("replaced");
    for (let round = 0; round < 30; round++) {
      const bytes = random.bytes(random.int(0, 6000));
      await store.put(key, bytes);
      for (let again = 0; again < 3; again++) await expectStored({ key, bytes });
      const content = store.get(key);
      expect(content).not.toBeInstanceOf(Promise);
    }
    expect(store.stats().hotRecordBytes).toBeGreaterThan(0);
  });

  test("are those of a batch, too, as far as they are small: what is prefetched is there without a promise", async () => {
    await open();
    const contents = randomContents(
      random,
      Array.from({ length: 200 }, () => random.int(1, 8192)),
    );
    const [large] = randomContents(random, [100_000]);
    // So that the segments of all shards are open.
    const earlier = randomContents(
      random,
      Array.from({ length: 64 }, () => 100),
    );
    await store.putAll([...earlier, ...contents, large!]);
    for (const content of earlier) await expectStored(content);
    const bytesBefore = store.stats().hotRecordBytes;
    store.prefetch([...contents, large!].map(({ key }) => key));
    const { hotRecordBytes } = store.stats();
    const readBytes = contents.reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(hotRecordBytes - bytesBefore).toBeGreaterThanOrEqual(readBytes);
    expect(hotRecordBytes - bytesBefore).toBeLessThan(readBytes + large!.bytes.length);
    for (const content of contents) await expectStored(content);
    expect(store.stats().hotRecordBytes).toBe(hotRecordBytes);
    store.prefetch(contents.map(({ key }) => key));
    expect(store.stats().hotRecordBytes).toBe(hotRecordBytes);
  });

  test("of a batch are not read where there is no memory for them", async () => {
    await open({ hotRecordBytesMax: 0 });
    const contents = randomContents(random, [100, 100, 100]);
    await store.putAll(contents);
    for (const content of contents) await expectStored(content);
    store.prefetch(contents.map(({ key }) => key));
    expect(store.stats().hotRecordBytes).toBe(0);
    for (const content of contents) await expectStored(content);
  });

  test("give any range, and out_of_range past their end", async () => {
    await open();
    const [content] = randomContents(random, [1000]);
    await putAll([content!]);
    for (let again = 0; again < 2; again++) {
      const part = await (await store.get(content!.key, { offset: 10, limit: 20 }))?.bytes();
      expect(Buffer.from(part!).equals(content!.bytes.subarray(10, 30))).toBe(true);
      await expect((async () => store.get(content!.key, { offset: 1001 }))()).rejects.toMatchObject({
        code: "out_of_range",
      });
      await expectStored(content!);
    }
  });

  test.each([
    [64 * 1024 + 1, true],
    [256 * 1024, true],
    [256 * 1024 + 1, false],
  ])("of %i bytes are held from their second read on: %s", async (sizeBytes, isHeld) => {
    await open();
    const [content] = randomContents(random, [sizeBytes]);
    await putAll([content!]);
    await expectStored(content!);
    expect(store.stats().hotRecordBytes).toBe(0);
    for (let again = 0; again < 2; again++) {
      await expectStored(content!);
      const part = await (await store.get(content!.key, { offset: 50_000, limit: 10_000 }))?.bytes();
      expect(Buffer.from(part!).equals(content!.bytes.subarray(50_000, 60_000))).toBe(true);
      expect(store.stats().hotRecordBytes >= sizeBytes).toBe(isHeld);
    }
  });

  test("are let go of with their segment", async () => {
    await open({ maxBytes: 40 * MIB, segmentBytesMax: MIB, stagingMemoryBytes: 4 * MIB });
    const small = randomContents(random, Array<number>(200).fill(5000));
    await putAll(small);
    await expectStored(...small);
    const heldBytes = store.stats().hotRecordBytes;
    expect(heldBytes).toBeGreaterThan(200 * 5000);
    for (let round = 0; round < 80; round++) await putAll(randomContents(random, [MIB - 1000]));
    await expect.poll(() => store.stats().totals.retiredSegments).toBeGreaterThan(10);
    expect(store.stats().hotRecordBytes).toBeLessThan(heldBytes);
    // Some may have been carried to a newer segment, as they were used.
    await expectStored(...small.filter(({ key }) => store.peek(key)));
    for (const content of small.filter(({ key }) => !store.peek(key))) expect(await read(content)).toBeUndefined();
  });

  test("are not kept where there is no memory for them", async () => {
    await open({ hotRecordBytesMax: 0 });
    const contents = randomContents(random, [0, 1, 5000]);
    await putAll(contents);
    for (let again = 0; again < 2; again++) await expectStored(...contents);
    expect(store.stats().hotRecordBytes).toBe(0);
  });
});

describe("I7: a churn of several times the budget", () => {
  const SMALL_BUDGET = { maxBytes: 40 * MIB, shardCount: 2, segmentBytesMax: MIB, stagingMemoryBytes: 4 * MIB };

  /** Uploads `totalBytes` with some uploads at once and looks at the disk after each. */
  async function churn(
    totalBytes: number,
    sizeOf: () => number,
    onStored: (content: CasContent) => unknown = () => undefined,
  ): Promise<{ peakBytes: number; peakLedger: number }> {
    const peak = { peakBytes: 0, peakLedger: 0 };
    const sample = (): void => {
      peak.peakLedger = Math.max(peak.peakLedger, store.stats().bytesUsed);
      peak.peakBytes = Math.max(peak.peakBytes, directoryBytes());
    };
    let uploadedBytes = 0;
    const upload = async (): Promise<void> => {
      while (uploadedBytes < totalBytes) {
        const content = randomContent(random, sizeOf());
        uploadedBytes += content.bytes.length;
        const staged = await store.stage(content.key);
        for (let at = 0; at < content.bytes.length; at += 200_000)
          await staged.write(content.bytes.subarray(at, at + 200_000));
        sample();
        if (random.int(0, 9) === 0) await staged.discard();
        else {
          await staged.commit();
          await onStored(content);
        }
        sample();
      }
    };
    await Promise.all(Array.from({ length: 8 }, upload));
    return peak;
  }

  test("never takes more than its budget, on disk or on the ledger, and goes on taking uploads", async () => {
    await open(SMALL_BUDGET);
    const sizes = [100, 5000, 60_000, 300_000, 900_000, MIB + 10, 3 * MIB];
    const { peakBytes, peakLedger } = await churn(160 * MIB, () => random.pick(sizes));
    expect(peakLedger).toBeLessThanOrEqual(SMALL_BUDGET.maxBytes);
    expect(peakBytes).toBeLessThanOrEqual(SMALL_BUDGET.maxBytes);
    const { totals } = store.stats();
    expect(totals.retiredSegments).toBeGreaterThan(20);
    await engine.close();
    expect(directoryBytes()).toBeLessThanOrEqual(SMALL_BUDGET.maxBytes);
    await open(SMALL_BUDGET);
    expect(store.stats().bytesUsed).toBeLessThanOrEqual(SMALL_BUDGET.maxBytes);
    const last = randomContent(random, 100_000);
    await putAll([last]);
    await expectStored(last);
  });

  test("keeps the blobs that are found again and again, and drops others", async () => {
    await open({ ...SMALL_BUDGET, minLeaseMs: 3_600_000 });
    const leased = randomContents(random, [100, 3000, 40_000, 500_000, 2 * MIB, ...Array<number>(30).fill(20_000)]);
    await putAll(leased);
    for (const { key } of leased) expect(store.find(key, { renew: true })).toBeDefined();
    const passing: CasContent[] = [];
    const { peakBytes } = await churn(
      120 * MIB,
      () => random.pick([5000, 60_000, 300_000]),
      (content) => {
        passing.push(content);
        const { key } = random.pick(leased);
        expect(store.find(key, { renew: true }), "a blob that holds a lease").toBeDefined();
      },
    );
    expect(peakBytes).toBeLessThanOrEqual(SMALL_BUDGET.maxBytes);
    await expectStored(...leased);
    expect(store.stats().totals.leasesBroken).toBe(0);
    expect(passing.filter(({ key }) => !store.peek(key)).length).toBeGreaterThan(passing.length / 2);
    await reopen({ ...SMALL_BUDGET, minLeaseMs: 3_600_000 });
    await expectStored(...leased);
  });

  test("goes on after the number of shards was changed, retiring what the others have left", async () => {
    await open(SMALL_BUDGET);
    await churn(40 * MIB, () => random.pick([5000, 300_000, 2 * MIB]));
    for (const shardCount of [3, 1]) {
      await reopen({ ...SMALL_BUDGET, shardCount });
      const { peakBytes, peakLedger } = await churn(60 * MIB, () => random.pick([5000, 300_000, 2 * MIB]));
      expect(peakLedger).toBeLessThanOrEqual(SMALL_BUDGET.maxBytes);
      expect(peakBytes).toBeLessThanOrEqual(SMALL_BUDGET.maxBytes);
    }
  });
});

test("I4: a key is looked for in the shard that a pure function names", () => {
  const key = keyWords(random.bytes(32));
  for (const shardCount of [1, 2, 3, 8]) {
    expect(shardOfKey(key, shardCount)).toBe(shardOfKey(Int32Array.from(key), shardCount));
    expect(shardOfKey(key, shardCount)).toBeLessThan(shardCount);
  }
  expect(existsSync(directory.path)).toBe(true);
});
