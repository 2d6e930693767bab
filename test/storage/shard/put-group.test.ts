import { keyBytes } from "../../../src/cache/key-words.ts";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { basename } from "node:path";
import { segmentPath } from "../../../src/storage/segment/segment-file.ts";
import { ADOPTED_PAYLOAD_OFFSET } from "../../../src/storage/shard/adoption.ts";
import type { PutOutcome } from "../../../src/storage/shard/shard-protocol.ts";
import { randomContents } from "../../support/cas-content.ts";
import { fileError } from "../../support/faulty-file-system.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { actionValue, TestShard, type TestShardOptions, type TestValue } from "../../support/test-shard.ts";

const random = seededRandom(testSeed("group commit"));
let directory: TemporaryDirectory;
let shard: TestShard;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("group");
  open();
});
afterEach(() => directory[Symbol.asyncDispose]());

/** Opens the directory, also again, as after a kill. */
function open(options: Partial<TestShardOptions> = {}): void {
  shard = new TestShard(directory.path, { random, ...options });
}

const blobs = (count: number, sizeBytes = 1000): TestValue[] =>
  randomContents(
    random,
    Array.from({ length: count }, () => sizeBytes),
  );
const fileOf = (segmentId: number): string => basename(segmentPath("", segmentId));
const statuses = (outcomes: readonly PutOutcome[]): string[] =>
  outcomes.map((outcome) => (outcome.status === "failed" ? outcome.code : outcome.status));
const stored = (count: number): string[] => Array<string>(count).fill("stored");

describe("a group commit", () => {
  test("stores values of every size around blocks and chunks, from the slab and from temp files", () => {
    const values = randomContents(random, [1, 4095, 4096, 4097, 50_000, 262_143, 262_144, 262_145, 700_000]);
    expect(statuses(shard.put(...values.slice(0, 7)))).toEqual(stored(7));
    expect(statuses(shard.putFiles(...values.slice(7)))).toEqual(stored(2));
    shard.expectStored(...values);
    shard.expectSettled();
    open();
    shard.expectStored(...values);
    shard.expectSettled();
  });

  test("I4: uploads of one blob in a group are one record, and all of them succeed", () => {
    const [blob, other] = blobs(2) as [TestValue, TestValue];
    expect(statuses(shard.put(blob, other, blob, blob))).toEqual(["stored", "stored", "present", "present"]);
    expect(statuses(shard.put(blob))).toEqual(["present"]);
    expect(shard.stats.get("appendedRecords")).toBe(2);
    shard.expectStored(blob, other);
    shard.expectSettled();
  });

  test("makes many uploads durable by one sync", () => {
    expect(statuses(shard.put(...blobs(50)))).toEqual(stored(50));
    expect(shard.fileSystem.history("syncData")).toHaveLength(1);
  });

  test("values that are not content-addressed are kept in the order of the group: the last one counts", () => {
    const values = ["first", "second", "third"].map((text) => actionValue("a", Buffer.from(text)));
    expect(statuses(shard.put(...values))).toEqual(stored(3));
    shard.expectStored(values[2]!);
    shard.expectSettled();
    open();
    shard.expectStored(values[2]!);
    shard.expectSettled();
  });

  test("an empty value is a record like any other", () => {
    const empty = actionValue("empty", Buffer.alloc(0));
    expect(statuses(shard.put(empty))).toEqual(["stored"]);
    shard.expectStored(empty);
    open();
    shard.expectStored(empty);
  });
});

describe("I1: an upload that is not what its key says", () => {
  test("is refused with both hashes named, and the good ones in its group are stored", () => {
    const [good, wrong, alsoGood] = blobs(3) as [TestValue, TestValue, TestValue];
    const outcomes = shard.put(good, { key: wrong.key, bytes: random.bytes(1000) }, alsoGood);
    expect(statuses(outcomes)).toEqual(["stored", "invalid_argument", "stored"]);
    expect(outcomes[1]).toMatchObject({
      message: expect.stringContaining(Buffer.from(keyBytes(wrong.key.words)).toString("hex")),
    });
    shard.expectStored(good, alsoGood);
    shard.expectAbsent(wrong);
    shard.expectSettled();
  });

  test("does not stand for the honest one of the same key, before or behind it", () => {
    const [blob] = blobs(1) as [TestValue];
    const lie = { key: blob.key, bytes: random.bytes(1000) };
    expect(statuses(shard.put(lie, blob, lie))).toEqual(["invalid_argument", "stored", "invalid_argument"]);
    shard.expectStored(blob);
    shard.expectSettled();
  });

  test("is refused where the blob is known already", () => {
    const [blob] = blobs(1) as [TestValue];
    shard.put(blob);
    expect(statuses(shard.put({ key: blob.key, bytes: random.bytes(1000) }))).toEqual(["invalid_argument"]);
    shard.expectStored(blob);
    shard.expectSettled();
  });

  test.each([
    ["shorter", -1],
    ["longer", 1],
  ])("is refused where its temp file is %s than it says", (_, difference) => {
    const [blob] = blobs(1) as [TestValue];
    const source = shard.stageInFile(blob.bytes);
    const outcomes = shard.putSources([{ value: blob, source, sizeBytes: blob.bytes.length - difference }]);
    expect(statuses(outcomes)).toEqual(["invalid_argument"]);
    shard.expectAbsent(blob);
    shard.expectSettled();
  });

  test("is refused where the temp file holds other bytes: what is read decides", () => {
    const [blob] = blobs(1) as [TestValue];
    const source = shard.stageInFile(blob.bytes);
    const file = readFileSync(source.path);
    file[ADOPTED_PAYLOAD_OFFSET + 500]! ^= 1;
    writeFileSync(source.path, file);
    expect(statuses(shard.putSources([{ value: blob, source }]))).toEqual(["invalid_argument"]);
    shard.expectAbsent(blob);
    shard.expectSettled();
  });

  test("fails alone where its temp file is gone", () => {
    const [gone, good] = blobs(2) as [TestValue, TestValue];
    const source = shard.stageInFile(gone.bytes);
    rmSync(source.path);
    const outcomes = shard.putSources([
      { value: gone, source },
      { value: good, source: shard.stageInFile(good.bytes) },
    ]);
    expect(statuses(outcomes)).toEqual(["internal", "stored"]);
    shard.expectStored(good);
    shard.expectSettled();
  });
});

describe("I2, H2: the order of a commit", () => {
  const steps = ["writeVector", "syncData", "syncDirectory"] as const;

  test("is write, sync, sync of the directory where the segment is new, and only then visible", () => {
    const values = blobs(3);
    const seen: boolean[] = [];
    shard.fileSystem.before = () => seen.push(values.some((value) => shard.find(value) !== undefined));
    shard.put(...values);
    const file = fileOf(1);
    expect(shard.fileSystem.history(...steps)).toEqual([
      `writeVector ${file}`,
      `writeVector ${file}`,
      `syncData ${file}`,
      "syncDirectory segments",
    ]);
    expect(seen.length).toBeGreaterThan(0);
    expect(seen).not.toContain(true);
    shard.expectStored(...values);
  });

  test("needs no sync of the directory while the segment is known to be there", () => {
    shard.put(...blobs(1));
    const before = shard.fileSystem.calls.length;
    shard.put(...blobs(1));
    const names = shard.fileSystem.calls.slice(before).map(({ name }) => name);
    expect(names).toEqual(["writeVector", "syncData"]);
  });

  test("holds for each segment where a group spans several", () => {
    open({ segmentBytesMax: 5000 });
    const values = blobs(20);
    const visible: number[] = [];
    shard.fileSystem.before = () => visible.push(values.filter((value) => shard.find(value) !== undefined).length);
    expect(statuses(shard.put(...values))).toEqual(stored(20));
    expect(new Set(visible)).toEqual(new Set([0]));
    const written = new Set(shard.fileSystem.history("writeVector").map((line) => line.split(" ")[1]));
    const synced = new Set(shard.fileSystem.history("syncData").map((line) => line.split(" ")[1]));
    expect(written.size).toBeGreaterThan(3);
    expect(synced).toEqual(written);
    expect(shard.fileSystem.calls.at(-1)?.name).toBe("syncDirectory");
    shard.expectStored(...values);
    shard.expectSettled();
  });

  test("at durability relaxed nothing is synced until the shard is told to", () => {
    open({ durability: "relaxed" });
    const values = blobs(3);
    expect(statuses(shard.put(...values))).toEqual(stored(3));
    expect(shard.fileSystem.history("syncData", "syncDirectory")).toEqual([]);
    shard.expectStored(...values);
    shard.shard.sync();
    expect(shard.fileSystem.history("syncData", "syncDirectory")).toEqual([
      `syncData ${fileOf(1)}`,
      "syncDirectory segments",
    ]);
    shard.shard.sync();
    expect(shard.fileSystem.history("syncData")).toHaveLength(1);
  });
});

describe("H5: a failed fdatasync", () => {
  const failSync = (count = 1): void => shard.fileSystem.failOnce(({ name }) => name === "syncData", "EIO", count);

  test("fails everybody in its group, and nobody else", () => {
    const [before, after] = [blobs(3), blobs(3)];
    shard.put(...before);
    const failed = blobs(4);
    failSync();
    expect(statuses(shard.put(...failed, failed[0]!))).toEqual(Array(5).fill("unavailable"));
    shard.expectAbsent(...failed);
    expect(statuses(shard.put(...after))).toEqual(stored(3));
    shard.expectStored(...before, ...after);
    shard.expectSettled();
  });

  test("ends its segment: it is never synced nor written again, and the next group starts a new one", () => {
    shard.put(...blobs(1));
    failSync();
    shard.put(...blobs(1));
    const calls = shard.fileSystem.calls.length;
    for (let i = 0; i < 5; i += 1) shard.put(...blobs(1));
    shard.shard.close();
    const later = shard.fileSystem.calls.slice(calls).filter(({ file }) => file === fileOf(1));
    expect(later).toEqual([]);
    expect(shard.segmentIds()).toEqual([1, 2]);
    shard.expectSettled(0);
  });

  test("the same upload succeeds in the next group, and what was there before is there after a restart", () => {
    const [kept, retried] = [blobs(3), blobs(3)];
    shard.put(...kept);
    failSync();
    shard.put(...retried);
    expect(statuses(shard.put(...retried))).toEqual(stored(3));
    shard.expectStored(...kept, ...retried);
    open();
    shard.expectStored(...kept, ...retried);
    shard.expectSettled();
  });

  test("of a segment that a group fills up fails the part that lies in it", () => {
    open({ segmentBytesMax: 5000 });
    const values = blobs(12);
    failSync(2);
    const outcomes = statuses(shard.put(...values));
    expect(outcomes).toContain("unavailable");
    expect(outcomes).toContain("stored");
    for (const [i, value] of values.entries()) {
      if (outcomes[i] === "stored") shard.expectStored(value);
      else shard.expectAbsent(value);
    }
    shard.expectSettled();
  });

  test("after three in a row the shard takes no more uploads, and still reads", () => {
    const kept = blobs(3);
    shard.put(...kept);
    shard.fileSystem.before = ({ name }) => {
      if (name === "syncData") throw fileError("EIO");
    };
    for (let i = 0; i < 3; i += 1) {
      expect(shard.stats.get("readOnly")).toBe(0);
      expect(statuses(shard.put(...blobs(1)))).toEqual(["unavailable"]);
    }
    expect(shard.stats.get("readOnly")).toBe(1);
    shard.fileSystem.before = () => undefined;
    const written = shard.fileSystem.history("writeVector").length;
    expect(statuses(shard.put(...blobs(2)))).toEqual(["unavailable", "unavailable"]);
    expect(shard.fileSystem.history("writeVector")).toHaveLength(written);
    shard.expectStored(...kept);
    shard.expectSettled(0);
    open();
    expect(statuses(shard.put(...blobs(1)))).toEqual(["stored"]);
    shard.expectStored(...kept);
  });

  test("two in a row and a good one begin the count anew", () => {
    for (let i = 0; i < 4; i += 1) {
      failSync();
      expect(statuses(shard.put(...blobs(1)))).toEqual(["unavailable"]);
      failSync();
      expect(statuses(shard.put(...blobs(1)))).toEqual(["unavailable"]);
      expect(statuses(shard.put(...blobs(1)))).toEqual(["stored"]);
    }
    expect(shard.stats.get("readOnly")).toBe(0);
    shard.expectSettled();
  });

  test("a failed sync of the directory fails the group, and the next one syncs it again", () => {
    const [failed, next] = [blobs(2), blobs(2)];
    shard.fileSystem.failOnce(({ name }) => name === "syncDirectory", "EIO");
    expect(statuses(shard.put(...failed))).toEqual(["unavailable", "unavailable"]);
    shard.expectAbsent(...failed);
    expect(statuses(shard.put(...next))).toEqual(stored(2));
    expect(shard.fileSystem.calls.at(-1)?.name).toBe("syncDirectory");
    shard.expectStored(...next);
    shard.expectSettled();
  });
});

test("H5, I6: at durability relaxed a failed sync makes what it should have covered a miss, and nothing else", () => {
  open({ durability: "relaxed" });
  const [synced, unsynced, later] = [blobs(2), blobs(3), blobs(2)];
  shard.put(...synced);
  shard.shard.sync();
  shard.put(...unsynced);
  shard.fileSystem.failOnce(({ name }) => name === "syncData", "EIO");
  expect(() => shard.shard.sync()).toThrow("EIO");
  // The kernel has dropped those pages: what a read would give, nobody knows.
  shard.expectAbsent(...unsynced);
  shard.expectStored(...synced);
  expect(statuses(shard.put(...later, ...unsynced))).toEqual(stored(5));
  shard.shard.sync();
  shard.expectStored(...synced, ...later, ...unsynced);
  shard.expectSettled();
});

describe("H7: a full disk", () => {
  test("in the middle of a write leaves the records before and after it intact", () => {
    const [before, during, after] = [blobs(2), blobs(5), blobs(2)];
    shard.put(...before);
    const end = shard.segmentFileBytes(1);
    shard.fileSystem.writeBytesMax = 700;
    shard.fileSystem.failOnce(({ name }) => name === "writeVector", "ENOSPC", 4);
    expect(statuses(shard.put(...during))).toEqual(Array(5).fill("storage_full"));
    expect(shard.segmentFileBytes(1), "the torn bytes are cut").toBe(end);
    shard.expectAbsent(...during);
    shard.expectSettled();
    expect(statuses(shard.put(...after))).toEqual(stored(2));
    shard.expectStored(...before, ...after);
    shard.expectSettled();
    open();
    expect(shard.recovered.warnings.join()).not.toContain("damaged");
    shard.expectStored(...before, ...after);
    shard.expectAbsent(...during);
    shard.expectSettled();
  });

  test.each(["seal", "crash"])("where the torn bytes cannot be cut at once they are gone after a %s", (end) => {
    const [before, during, after] = [blobs(2), blobs(5), blobs(1, 10)];
    shard.put(...before);
    shard.fileSystem.writeBytesMax = 1500;
    let writes = 0;
    shard.fileSystem.before = ({ name }) => {
      if (name === "truncate") throw fileError("EIO");
      writes += name === "writeVector" ? 1 : 0;
      if (name === "writeVector" && writes === 4) throw fileError("ENOSPC");
    };
    expect(statuses(shard.put(...during))).toEqual(Array(5).fill("storage_full"));
    shard.fileSystem.before = () => undefined;
    expect(statuses(shard.put(...after))).toEqual(stored(1));
    shard.expectStored(...before, ...after);
    if (end === "seal") shard.shard.close();
    expect(shard.inspect(1).sealed).toBe(end === "seal");
    open();
    shard.expectStored(...before, ...after);
    shard.expectSettled();
  });

  test("while a segment is sealed is told as such, is no failed sync, and writes go on when there is room", () => {
    open({ segmentBytesMax: 5000 });
    const kept = blobs(2);
    shard.put(...kept);
    let refused = 0;
    for (let round = 0; round < 5; round += 1) {
      let synced = "";
      // Header and records find room, the footer does not: it is what is written after a sync in the same group.
      shard.fileSystem.before = ({ name, file }) => {
        if (name === "writeVector" && file === synced) throw fileError("ENOSPC");
        if (name === "syncData") synced = file;
      };
      const outcomes = statuses(shard.put(...blobs(6)));
      for (const outcome of outcomes) expect(["stored", "storage_full"]).toContain(outcome);
      refused += outcomes.filter((outcome) => outcome === "storage_full").length;
    }
    expect(refused).toBeGreaterThan(0);
    shard.fileSystem.before = () => undefined;
    expect(shard.stats.get("readOnly")).toBe(0);
    const later = blobs(10);
    expect(statuses(shard.put(...later))).toEqual(stored(10));
    shard.expectStored(...kept, ...later);
    shard.expectSettled();
  });

  test("that shows only when a segment is synced stops the uploads for as long as it is full", () => {
    const kept = blobs(2);
    shard.put(...kept);
    shard.fileSystem.before = ({ name }) => {
      if (name === "syncData") throw fileError("ENOSPC");
    };
    for (let i = 0; i < 6; i += 1) expect(statuses(shard.put(...blobs(2)))).toEqual(["storage_full", "storage_full"]);
    expect(shard.stats.get("readOnly")).toBe(0);
    shard.fileSystem.before = () => undefined;
    const later = blobs(2);
    expect(statuses(shard.put(...later))).toEqual(stored(2));
    shard.expectStored(...kept, ...later);
    shard.expectSettled();
  });

  test("while a new segment is made leaves no file behind", () => {
    shard.fileSystem.failOnce(({ name }) => name === "writeVector", "ENOSPC");
    expect(statuses(shard.put(...blobs(2)))).toEqual(["storage_full", "storage_full"]);
    expect(shard.segmentIds()).toEqual([]);
    shard.expectSettled(0);
    shard.fileSystem.failOnce(({ name }) => name === "open", "EMFILE");
    expect(statuses(shard.put(...blobs(1)))).toEqual(["unavailable"]);
    shard.expectSettled(0);
    expect(statuses(shard.put(...blobs(1)))).toEqual(["stored"]);
    shard.expectSettled();
  });
});

describe("short writes and reads", () => {
  test.each([1, 7, 4096, 100_000])("of at most %i bytes lose nothing", (bytesMax) => {
    Object.assign(shard.fileSystem, { writeBytesMax: bytesMax, readBytesMax: bytesMax });
    const values = randomContents(random, bytesMax < 1000 ? [1, 500, 5000] : [1, 5000, 300_000]);
    expect(statuses(shard.put(...values))).toEqual(stored(3));
    const more = randomContents(random, [1500]);
    expect(statuses(shard.putFiles(...more))).toEqual(stored(1));
    shard.expectStored(...values, ...more);
    shard.shard.close();
    open();
    shard.expectStored(...values, ...more);
    shard.expectSettled();
  });
});

describe("rotation", () => {
  test("no segment grows past its bound, whether its records come in small groups or in large ones", () => {
    const segmentBytesMax = 20_000;
    open({ segmentBytesMax });
    const values = blobs(100);
    for (let at = 0; at < 50; at += 5) shard.put(...values.slice(at, at + 5));
    shard.put(...values.slice(50));
    shard.expectStored(...values);
    shard.expectSettled();
    for (const segmentId of shard.segmentIds()) {
      expect(shard.inspect(segmentId).endOffset).toBeLessThanOrEqual(segmentBytesMax);
    }
    expect(shard.segmentIds().length, "segments are filled").toBeLessThan(8);
  });

  test("the first group of an empty shard keeps to the bound too", () => {
    open({ segmentBytesMax: 20_000 });
    shard.put(...blobs(60));
    for (const segmentId of shard.segmentIds()) expect(shard.inspect(segmentId).endOffset).toBeLessThanOrEqual(20_000);
    shard.expectSettled();
  });

  test("a record larger than a segment gets one of its own", () => {
    open({ segmentBytesMax: 20_000 });
    const [small, large] = [blobs(3), randomContents(random, [50_000, 60_000])];
    shard.put(small[0]!, large[0]!, small[1]!, large[1]!, small[2]!);
    shard.expectStored(...small, ...large);
    for (const segmentId of shard.segmentIds()) {
      const { records, endOffset } = shard.inspect(segmentId);
      expect(endOffset <= 20_000 || records.length === 1).toBe(true);
    }
    shard.expectSettled();
  });

  test("all but the newest segment are sealed and know all their records", () => {
    open({ segmentBytesMax: 20_000 });
    for (let i = 0; i < 12; i += 1) shard.put(...blobs(5));
    const ids = shard.segmentIds();
    expect(ids.map((id) => shard.inspect(id).sealed)).toEqual(ids.map((id) => id !== ids.at(-1)));
    expect(ids.reduce((sum, id) => sum + shard.inspect(id).records.length, 0)).toBe(60);
  });
});

describe("a full index", () => {
  test("refuses new keys, goes on replacing known ones, and the ledger stays right", () => {
    open({ entryCountMax: 10 });
    const values = blobs(9);
    const action = actionValue("known", Buffer.from("old"));
    shard.put(...values, action);
    expect(statuses(shard.put(...blobs(2)))).toEqual(["storage_full", "storage_full"]);
    const newer = actionValue("known", Buffer.from("newer"));
    expect(statuses(shard.put(newer))).toEqual(["stored"]);
    shard.expectStored(...values, newer);
    shard.expectSettled();
  });
});

describe("H4: a restart after damage", () => {
  test("of one record in the unsealed segment costs that record, is reported, and the file is whole again", () => {
    const values = blobs(5);
    shard.put(...values);
    const damaged = shard.find(values[2]!);
    const path = segmentPath(shard.paths.segments, 1);
    const bytes = readFileSync(path);
    bytes[(damaged?.offset ?? 0) + 200]! ^= 1;
    writeFileSync(path, bytes);
    open();
    expect(shard.recovered.warnings.join("\n")).toContain("damaged");
    expect(shard.stats.get("corruptStretches")).toBe(1);
    shard.expectAbsent(values[2]!);
    shard.expectStored(...values.filter((_, i) => i !== 2));
    shard.expectSettled();
    shard.shard.close();
    open();
    expect(shard.recovered.warnings).toEqual([]);
    shard.expectStored(...values.filter((_, i) => i !== 2));
    expect(statuses(shard.put(values[2]!))).toEqual(["stored"]);
    shard.expectSettled();
  });

  test("a disk that is full while torn tails are cut does not keep the store from opening", () => {
    const values = blobs(5);
    shard.put(...values);
    const torn = readFileSync(segmentPath(shard.paths.segments, 1)).subarray(0, -10);
    writeFileSync(segmentPath(shard.paths.segments, 1), torn);
    const full = new TestShard(directory.path, {
      random,
      before: ({ name }) => {
        if (name === "writeVector") throw fileError("ENOSPC");
      },
    });
    full.expectStored(...values.slice(0, 4));
    full.fileSystem.before = () => undefined;
    expect(statuses(full.put(...blobs(1)))).toEqual(["stored"]);
    full.expectSettled();
  });
});
