import { openSync, readdirSync, readSync, writeSync, closeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { verifyStore } from "../../src/storage/verify-store.ts";
import { randomContents } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { openTestEngine } from "../support/test-engine.ts";

function flipByte(path: string, offset: number): void {
  const fd = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, offset);
  writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 0xff]), 0, 1, offset);
  closeSync(fd);
}

describe("verifyStore", () => {
  const random = seededRandom(testSeed("verifyStore"));
  const contents = randomContents(random, [1, 5000, 300_000, 9_000_000]);
  let directory: TemporaryDirectory;

  beforeAll(async () => {
    directory = await makeTemporaryDirectory("verify");
    await using engine = await openTestEngine({ directory: directory.path });
    for (const { key, bytes } of contents) await engine.store.put(key, bytes);
  });
  afterAll(() => directory[Symbol.asyncDispose]());

  test("an open store is refused, and a folder that is none", async () => {
    await using engine = await openTestEngine({ directory: directory.path });
    expect(engine.store.stats().entries).toBe(contents.length);
    expect(() => verifyStore(directory.path, () => undefined)).toThrow(/in use by another Kura process/);
    expect(() => verifyStore(join(directory.path, "none"), () => undefined)).toThrow(/is not a Kura data directory/);
  });

  test("a sound store has every record checked, and progress ends at the last segment", () => {
    const progress: number[] = [];
    const summary = verifyStore(directory.path, ({ segmentsDone }) => progress.push(segmentsDone));
    expect(summary).toMatchObject({ recordCount: contents.length, unsealedCount: 0, damage: [] });
    expect(progress.at(-1)).toBe(summary.segmentCount);
  });

  test("a flipped byte in a payload is reported with its segment, offset and key, and the rest is checked", () => {
    const segments = join(directory.path, "segments");
    const name = readdirSync(segments).toSorted()[0] ?? "";
    flipByte(join(segments, name), 64 + 80);
    const summary = verifyStore(directory.path, () => undefined);
    expect(summary.recordCount).toBe(contents.length);
    expect(summary.damage).toHaveLength(1);
    expect(summary.damage[0]).toMatchObject({ offset: 64, reason: "the checksum of chunk 0 fails" });
    expect(contents.map(({ digest }) => digest.hash)).toContain(summary.damage[0]?.key);
    flipByte(join(segments, name), 64 + 80);
  });
});

describe("the scrub", () => {
  test("finds damage that nobody reads, takes the record out, and reports it", async () => {
    const random = seededRandom(testSeed("the scrub"));
    const contents = randomContents(random, [70_000, 80_000, 90_000]);
    await using directory = await makeTemporaryDirectory("scrub");
    {
      await using engine = await openTestEngine({ directory: directory.path, shardCount: 1, segmentBytesMax: 1 << 20 });
      for (const { key, bytes } of contents) await engine.store.put(key, bytes);
    }
    const segments = join(directory.path, "segments");
    flipByte(join(segments, readdirSync(segments)[0] ?? ""), 64 + 80 + 10);
    await using engine = await openTestEngine({
      directory: directory.path,
      shardCount: 1,
      // Small segments: the one with the damage is more than half full, hence sealed.
      segmentBytesMax: 256 * 1024,
      scrubBytesPerSecond: 1 << 30,
    });
    // The worker counts the record before its answer, with which the report is made, is here.
    await expect.poll(() => engine.store.stats().quarantined, { timeout: 20_000 }).toHaveLength(1);
    const { quarantined, totals } = engine.store.stats();
    expect(totals.quarantinedRecords).toBe(1);
    expect(quarantined[0]?.key).toBe(contents[0]?.digest.hash);
    expect(contents.map(({ key }) => engine.store.peek(key))).toEqual([false, true, true]);
  });
});
