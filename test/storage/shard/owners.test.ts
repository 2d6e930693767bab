import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkpointFileName } from "../../../src/storage/index/index-checkpoint.ts";
import { segmentPath } from "../../../src/storage/segment/segment-file.ts";
import { recordFootprintBytes } from "../../../src/storage/segment/segment-format.ts";
import { randomContents } from "../../support/cas-content.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { actionValue, TestShard, type TestShardOptions, type TestValue } from "../../support/test-shard.ts";

const random = seededRandom(testSeed("owners of a shard"));
let directory: TemporaryDirectory;
let shard: TestShard;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("owners");
  open();
});
afterEach(() => directory[Symbol.asyncDispose]());

/** Opens the directory, also again, as after a kill. */
function open(options: Partial<TestShardOptions> = {}): void {
  shard = new TestShard(directory.path, { random, segmentBytesMax: 20_000, ...options });
}

const ownedBy = (owner: number, { key, bytes }: TestValue): TestValue => ({ key: { ...key, owner }, bytes });
const blobs = (owner: number, ...sizes: number[]): TestValue[] =>
  randomContents(random, sizes).map((value) => ownedBy(owner, value));

/** The accounts of the first owners. */
const accounts = (): number[] => [0, 1, 2, 3].map((owner) => shard.index.ownedBytes(owner));
const footprint = (...values: readonly TestValue[]): number =>
  values.reduce((sum, { bytes }) => sum + recordFootprintBytes(bytes.length), 0);

describe("the account of an owner", () => {
  test("holds what its records take on disk, and none is kept of nobody's", () => {
    const [first, second] = [blobs(1, 1000, 2000), blobs(2, 500)];
    shard.put(...blobs(0, 700), ...first, ...second);
    expect(accounts()).toEqual([0, footprint(...first), footprint(...second), 0]);
  });

  test("of a blob that two have uploaded is that of the first", () => {
    const [blob] = blobs(1, 1000) as [TestValue];
    shard.put(blob, ownedBy(2, blob));
    shard.put(ownedBy(2, blob));
    expect(accounts()).toEqual([0, footprint(blob), 0, 0]);
  });

  test("of a value that is replaced passes to whoever has replaced it", () => {
    const [before, after] = [actionValue("a", Buffer.alloc(10)), actionValue("a", Buffer.alloc(300))];
    shard.put(ownedBy(1, before));
    shard.put(ownedBy(2, after));
    expect(accounts()).toEqual([0, 0, footprint(after), 0]);
  });

  test("of a file that is adopted holds it too", () => {
    const [blob] = blobs(3, 5000) as [TestValue];
    shard.adopt(blob);
    expect(accounts()).toEqual([0, 0, 0, footprint(blob)]);
  });

  test("goes down with what is retired, and not with what is copied forward", () => {
    const values = blobs(1, ...Array.from({ length: 18 }, () => 1000));
    shard.put(...values);
    shard.put(...blobs(2, 15_000));
    shard.pass(1);
    for (const value of values.slice(0, 5)) shard.use(value);
    expect(shard.retire()).toEqual([1]);
    shard.expectStored(...values.slice(0, 5));
    expect(accounts()).toEqual([0, footprint(...values.slice(0, 5)), recordFootprintBytes(15_000), 0]);
  });

  test("goes down with what is quarantined", () => {
    const [blob] = blobs(1, 1000) as [TestValue];
    shard.put(blob);
    const { segmentId, offset } = shard.find(blob)!;
    shard.shard.quarantine(blob.key.space, Buffer.from(blob.key.words.buffer), segmentId, offset);
    expect(accounts()).toEqual([0, 0, 0, 0]);
  });

  test.each(["its checkpoint", "footers alone", "a scan, after a kill"])(
    "is the same after a restart from %s",
    (from) => {
      shard.put(...blobs(1, 100, 19_000), ...blobs(2, 200, 300), ownedBy(3, actionValue("a", Buffer.alloc(20))));
      shard.adopt(blobs(2, 30_000)[0]!);
      shard.put(ownedBy(1, actionValue("a", Buffer.alloc(40))));
      const before = accounts();
      if (from !== "a scan, after a kill") shard.shard.close();
      if (from === "footers alone") rmSync(join(shard.paths.checkpoint, checkpointFileName(0)));
      open();
      expect(accounts()).toEqual(before);
    },
  );
});

describe("a segment of format version 1", () => {
  /** Rewrites the version in its header, as an earlier build would have written it. */
  function makeOld(segmentId: number): void {
    const path = segmentPath(shard.paths.segments, segmentId);
    const bytes = readFileSync(path);
    bytes.writeUInt32LE(1, 8);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    writeFileSync(path, bytes);
  }

  test("is read, and what is stored after it goes to a segment of its own", () => {
    const [old, fresh] = [blobs(0, 1000), blobs(1, 1000)];
    shard.put(...old);
    shard.shard.close();
    makeOld(1);
    open();
    shard.expectStored(...old);
    shard.put(...fresh);
    shard.expectStored(...old, ...fresh);
    expect(shard.segmentIds()).toEqual([1, 2]);
    open();
    shard.expectStored(...old, ...fresh);
    expect(accounts()).toEqual([0, footprint(...fresh), 0, 0]);
  });
});
