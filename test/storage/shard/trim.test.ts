import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { recordFootprintBytes } from "../../../src/storage/segment/segment-format.ts";
import { randomContents } from "../../support/cas-content.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { actionValue, finish, TestShard, type TestShardOptions, type TestValue } from "../../support/test-shard.ts";

const random = seededRandom(testSeed("trim"));
const LEASE_SECONDS = 100;
const RECORD_BYTES = recordFootprintBytes(1000);
/** Of about 1,100 bytes on disk each. */
const PER_SEGMENT = 18;
let directory: TemporaryDirectory;
let shard: TestShard;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("trim");
  open();
});
afterEach(() => directory[Symbol.asyncDispose]());

function open(options: Partial<TestShardOptions> = {}): void {
  shard = new TestShard(directory.path, {
    random,
    segmentBytesMax: 20_000,
    minLeaseSeconds: LEASE_SECONDS,
    ...options,
  });
}

const blobs = (owner: number, count = PER_SEGMENT): TestValue[] =>
  randomContents(
    random,
    Array.from({ length: count }, () => 1000),
  ).map(({ key, bytes }) => ({ key: { ...key, owner }, bytes }));

/** Puts a segment of an owner's at a time. */
function fill(owner: number, segmentCount: number): TestValue[][] {
  return Array.from({ length: segmentCount }, () => {
    const values = blobs(owner);
    shard.put(...values);
    shard.pass(1);
    return values;
  });
}

const trim = (owner: number, bytes: number): number => finish(shard.shard.trim(owner, bytes));
const present = (values: readonly TestValue[]): number =>
  values.filter((value) => shard.find(value) !== undefined).length;

describe("trimming what an owner has", () => {
  test("drops so much of it or a record more, from its oldest segments, and nothing of others", () => {
    const ours = fill(1, 3);
    const theirs = fill(2, 2);
    const dropped = trim(1, (PER_SEGMENT + 3.5) * RECORD_BYTES);
    expect(dropped).toBe((PER_SEGMENT + 4) * RECORD_BYTES);
    expect(ours.map(present)).toEqual([0, PER_SEGMENT - 4, PER_SEGMENT]);
    shard.expectStored(...theirs.flat());
    expect(shard.index.ownedBytes(1)).toBe((2 * PER_SEGMENT - 4) * RECORD_BYTES);
    expect(shard.stats.get("trimmedBytes")).toBe(dropped);
    expect(shard.stats.get("trimmedRecords")).toBe(PER_SEGMENT + 4);
    shard.expectSettled();
  });

  test("drops by age of the segment, whatever the order of the entries in the index", () => {
    const gone = fill(1, 1);
    shard.retire();
    expect(present(gone.flat())).toBe(0);
    // Their places in the index are taken anew, the last one first.
    const [oldest, middle, newest] = fill(1, 3);
    trim(1, PER_SEGMENT * RECORD_BYTES);
    expect([oldest, middle, newest].map((values) => present(values!))).toEqual([0, PER_SEGMENT, PER_SEGMENT]);
  });

  test("spares what was used since it was written as long as there is something else", () => {
    const [oldest, newest] = fill(1, 2) as [TestValue[], TestValue[]];
    for (const value of oldest.slice(0, 5)) shard.use(value);
    shard.pass(10 * LEASE_SECONDS);
    trim(1, 2 * PER_SEGMENT * RECORD_BYTES - 5 * RECORD_BYTES);
    expect([present(oldest), present(newest)]).toEqual([5, 0]);
    trim(1, 2 * RECORD_BYTES);
    expect(present(oldest)).toBe(3);
  });

  test("never drops what holds a lease, and says how much it dropped", () => {
    const [oldest, newest] = fill(1, 2) as [TestValue[], TestValue[]];
    for (const value of oldest) shard.use(value);
    expect(trim(1, 10 * PER_SEGMENT * RECORD_BYTES)).toBe(PER_SEGMENT * RECORD_BYTES);
    shard.expectStored(...oldest);
    shard.expectAbsent(...newest);
    expect(trim(1, RECORD_BYTES)).toBe(0);
  });

  test("takes what is in the active segment too, and its file stays as it is", () => {
    const values = blobs(1, 3);
    shard.put(...values);
    expect(trim(1, RECORD_BYTES * 3)).toBe(RECORD_BYTES * 3);
    shard.expectAbsent(...values);
    shard.put(...values);
    shard.expectStored(...values);
    shard.expectSettled();
  });

  test("does not bring back an older value, at this start or the next", () => {
    const [old, fresh] = ["old", "fresh"].map((text) => {
      const { key, bytes } = actionValue("a", Buffer.from(text));
      return { key: { ...key, owner: 1 }, bytes };
    }) as [TestValue, TestValue];
    shard.put(...blobs(2, PER_SEGMENT - 1), old);
    shard.put(...blobs(2, PER_SEGMENT - 1), fresh);
    shard.put(...blobs(2));
    trim(1, 1);
    shard.expectAbsent(fresh);
    open();
    // After a kill it may be found again, but not the one before it.
    expect(shard.read(fresh)?.toString()).not.toBe("old");
    while (shard.segmentIds().includes(2)) shard.retire();
    open();
    shard.expectAbsent(fresh);
  });

  test("lasts over a restart that finds the checkpoint of an orderly end", () => {
    const [oldest, newest] = fill(1, 2) as [TestValue[], TestValue[]];
    trim(1, PER_SEGMENT * RECORD_BYTES);
    shard.shard.close();
    open();
    expect([present(oldest), present(newest)]).toEqual([0, PER_SEGMENT]);
    expect(shard.index.ownedBytes(1)).toBe(PER_SEGMENT * RECORD_BYTES);
  });
});
