import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { DetachedEntry } from "../../../src/cache/entry-store.ts";
import type { EngineOptions } from "../../../src/storage/engine-options.ts";
import { type CasContent, randomContent } from "../../support/cas-content.ts";
import { ManualTimers } from "../../support/manual-timers.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { MIB, openTestEngine, type TestEngine } from "../../support/test-engine.ts";

const random = seededRandom(testSeed("LeftUploads"));
const BOOT = Buffer.alloc(16, 0xb0);
const OTHER_BOOT = Buffer.alloc(16, 0xb1);
/** Of a segment's two headers, which the head of the file stands for. */
const PAYLOAD_OFFSET = 144;
const MINUTE_MS = 60_000;

let directory: TemporaryDirectory;
let engine: TestEngine;
let timers: ManualTimers;
const running = new AbortController().signal;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("left-uploads");
  await open();
});
afterEach(async () => {
  await engine.close();
  await directory[Symbol.asyncDispose]();
});

async function open(options: Partial<EngineOptions> = {}): Promise<void> {
  timers = new ManualTimers();
  engine = await openTestEngine({ directory: directory.path, boot: BOOT, timers, ...options });
}

async function restart(options: Partial<EngineOptions> = {}): Promise<void> {
  await engine.close();
  await open(options);
}

/** The next start finds what a process that is killed now would have left in staging. */
async function crash(options: Partial<EngineOptions> = {}): Promise<void> {
  const aside = join(directory.path, "aside");
  mkdirSync(aside, { recursive: true });
  const names = stagingFiles();
  for (const name of names) copyFileSync(stagingPath(name), join(aside, name));
  await engine.close();
  for (const name of names) copyFileSync(join(aside, name), stagingPath(name));
  await open(options);
}

const stagingPath = (name: string): string => join(directory.path, "staging", name);
const stagingFiles = (): string[] => readdirSync(join(directory.path, "staging"));
const committedBytes = (name: string): Promise<number> => engine.store.leftUploads.committedBytes(name);

/** An upload of which `bytes` have come in. */
async function begin(name: string, { key, bytes: content }: CasContent, bytes: number) {
  const staged = await engine.store.stage(key);
  staged.keepAs(name);
  for (let at = 0; at < bytes; at += 50_000) await staged.write(content.subarray(at, Math.min(bytes, at + 50_000)));
  return staged;
}

async function goOn(name: string, { key, bytes }: CasContent): Promise<void> {
  const detached = await engine.store.leftUploads.surrender(name);
  const staged = await engine.store.attach(key, structuredClone(detached) as DetachedEntry);
  await staged.write(bytes.subarray(staged.bytesStaged));
  await staged.commit();
  const stored = await (await engine.store.get(key))?.bytes();
  expect(bytes.equals(stored ?? Buffer.alloc(0))).toBe(true);
}

/** Saved when an engine closes, and counted too. */
function checkpointBytes(): number {
  const folder = join(directory.path, "checkpoint");
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

function expectNothingLeft(): void {
  const { bytesUsed, stagingFileBytes, leftUploads, totals } = engine.store.stats();
  expect({ bytesUsed, stagingFileBytes, leftUploads, files: stagingFiles() }).toEqual({
    bytesUsed: totals.segmentBytes + checkpointBytes(),
    stagingFileBytes: 0,
    leftUploads: 0,
    files: [],
  });
}

describe("an upload that was left", () => {
  test.each([100_000, 3 * MIB, 12 * MIB])("in order, of a blob of %i bytes, goes on where it stopped", async (size) => {
    const content = randomContent(random, size);
    const sent = Math.floor(size / 2) + 1;
    await (await begin("a", content, sent)).leave(running);
    // Another kernel too: it is noted, and synced.
    await restart({ boot: OTHER_BOOT });
    expect(await committedBytes("a")).toBe(sent);
    expect(await committedBytes("b")).toBe(0);
    await goOn("a", content);
    expectNothingLeft();
  });

  test("by a crash is there as far as it was parked, and for no other kernel", async () => {
    const content = randomContent(random, 12 * MIB);
    await (await begin("a", content, 5_000_001)).park();
    await crash();
    expect(await committedBytes("a")).toBe(5_000_001);
    await goOn("a", content);
    expectNothingLeft();

    const other = randomContent(random, 12 * MIB);
    await (await begin("b", other, 5_000_001)).park();
    await crash({ boot: OTHER_BOOT });
    expect(await committedBytes("b")).toBe(0);
    expectNothingLeft();
  });

  test("by a crash in the middle of it is there but for what was in its buffers", async () => {
    const content = randomContent(random, 12 * MIB);
    await begin("a", content, 8_000_000);
    await crash();
    const bytes = await committedBytes("a");
    expect(bytes).toBeGreaterThan(8_000_000 - 2 * 256 * 1024);
    expect(bytes).toBeLessThanOrEqual(8_000_000);
    await goOn("a", content);
  });

  test("and went on under another kernel counts, after a crash there, as far as it got, not as far as the old file went", async () => {
    const content = randomContent(random, 12 * MIB);
    await (await begin("a", content, 4_000_000)).leave(running);
    await engine.close();
    const [file = ""] = stagingFiles();
    // What was never noted: a power cut may leave anything behind the noted bytes.
    writeFileSync(stagingPath(file), Buffer.concat([readFileSync(stagingPath(file)), random.bytes(3_000_000)]));
    await open({ boot: OTHER_BOOT });
    expect(await committedBytes("a")).toBe(4_000_000);
    const detached = (await engine.store.leftUploads.surrender("a")) as DetachedEntry;
    const staged = await engine.store.attach(content.key, detached);
    await staged.write(content.bytes.subarray(4_000_000, 4_500_000));
    await staged.park();
    await crash({ boot: OTHER_BOOT });
    expect(await committedBytes("a")).toBe(4_500_000);
    await goOn("a", content);
  });

  test("is gone where a byte of what is noted has changed, or is missing", async () => {
    for (const spoil of [
      (bytes: Buffer) => bytes.fill((bytes[PAYLOAD_OFFSET + 777] ?? 0) ^ 1, PAYLOAD_OFFSET + 777, PAYLOAD_OFFSET + 778),
      (bytes: Buffer) => bytes.subarray(0, bytes.length - 1),
      (bytes: Buffer) => bytes.fill(0, 0, 1),
    ]) {
      const content = randomContent(random, 9 * MIB);
      await (await begin("a", content, MIB)).leave(running);
      await engine.close();
      const [file = ""] = stagingFiles();
      writeFileSync(stagingPath(file), spoil(readFileSync(stagingPath(file))));
      await open();
      expect(await committedBytes("a")).toBe(0);
      expectNothingLeft();
    }
  });

  test("stays for its time, which runs while no server does", async () => {
    const content = randomContent(random, 9 * MIB);
    for (const name of ["a", "b"]) await (await begin(name, content, MIB)).leave(running);
    await engine.close();
    const aged = (minutes: number): Date => new Date(Date.now() - minutes * MINUTE_MS);
    const [first = "", second = ""] = stagingFiles();
    utimesSync(stagingPath(first), aged(11), aged(11));
    utimesSync(stagingPath(second), aged(8), aged(8));
    await open();
    expect(stagingFiles()).toHaveLength(1);
    timers.advance(MINUTE_MS);
    expect(engine.store.stats().leftUploads).toBe(1);
    timers.advance(2 * MINUTE_MS);
    expectNothingLeft();
  });

  test("goes where the oldest are past a quarter of staging, or there is no room", async () => {
    await restart({ stagingDiskBytes: 100 * MIB });
    const contents = Array.from({ length: 4 }, () => randomContent(random, 9 * MIB));
    for (const [i, content] of contents.entries()) await (await begin(`upload ${i}`, content, MIB)).leave(running);
    await engine.close();
    const ages = stagingFiles().map((name, i) => {
      const at = new Date(Date.now() - (i + 1) * MINUTE_MS);
      utimesSync(stagingPath(name), at, at);
      return readFileSync(stagingPath(name));
    });
    await open({ stagingDiskBytes: 100 * MIB });
    const kept = stagingFiles().map((name) => ages.findIndex((bytes) => bytes.equals(readFileSync(stagingPath(name)))));
    expect(new Set(kept)).toEqual(new Set([0, 1]));
    await engine.store.leftUploads.dropKept();
    expectNothingLeft();
  });

  test("is forgotten by its name", async () => {
    const content = randomContent(random, 9 * MIB);
    await (await begin("a", content, MIB)).leave(running);
    await restart();
    await engine.store.leftUploads.forget("b");
    expect(engine.store.stats().leftUploads).toBe(1);
    await engine.store.leftUploads.forget("a");
    expect(await engine.store.leftUploads.surrender("a")).toBeUndefined();
    expectNothingLeft();
  });

  test("without a name leaves nothing", async () => {
    const content = randomContent(random, 9 * MIB);
    const staged = await engine.store.stage(content.key);
    await staged.write(content.bytes.subarray(0, MIB));
    await staged.leave(running);
    expectNothingLeft();
  });

  test("in no time is trusted as after a crash", async () => {
    const content = randomContent(random, 9 * MIB);
    for (const name of ["a", "b"]) await (await begin(name, content, MIB)).leave(AbortSignal.abort());
    await restart();
    expect(await committedBytes("a")).toBe(MIB);
    await restart({ boot: OTHER_BOOT });
    // Asked for, it was taken on by the kernel of then; either way nothing is noted of it.
    expect([await committedBytes("a"), await committedBytes("b")]).toEqual([0, 0]);
    expectNothingLeft();
  });
});
