import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { segmentPath } from "../../../src/storage/segment/segment-file.ts";
import { randomContents } from "../../support/cas-content.ts";
import { fileError } from "../../support/faulty-file-system.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { actionValue, finish, TestShard, type TestShardOptions, type TestValue } from "../../support/test-shard.ts";

const random = seededRandom(testSeed("retention"));
const MIB = 1024 * 1024;
const LEASE_SECONDS = 100;
/** Of about 1,100 bytes on disk each. */
const PER_SEGMENT = 18;
let directory: TemporaryDirectory;
let shard: TestShard;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("retention");
  open();
});
afterEach(() => directory[Symbol.asyncDispose]());

function open(options: Partial<TestShardOptions> = {}): void {
  shard = new TestShard(directory.path, {
    random,
    segmentBytesMax: 20_000,
    minLeaseSeconds: LEASE_SECONDS,
    bytesMax: 100_000_000,
    ...options,
  });
}

const blobs = (count: number, sizeBytes = 1000): TestValue[] =>
  randomContents(
    random,
    Array.from({ length: count }, () => sizeBytes),
  );

/** Puts values a segment at a time. @returns what lies in each segment. */
function fill(segmentCount: number): TestValue[][] {
  const filled = Array.from({ length: segmentCount }, () => {
    const values = blobs(PER_SEGMENT);
    shard.put(...values);
    shard.pass(1);
    return values;
  });
  expect(shard.segmentIds()).toHaveLength(segmentCount);
  return filled;
}

describe("retirement", () => {
  test("takes the oldest segment, and all that lies in it becomes a miss", () => {
    const [oldest, ...younger] = fill(4);
    expect(shard.retire()).toEqual([1]);
    shard.expectAbsent(...oldest!);
    for (const values of younger) shard.expectStored(...values);
    expect(shard.segmentIds()).toEqual([2, 3, 4]);
    expect(shard.stats.get("retiredRecords")).toBe(PER_SEGMENT);
    shard.expectSettled();
    expect(shard.retire()).toEqual([2]);
    shard.expectAbsent(...younger[0]!);
    shard.expectSettled();
  });

  test("of an empty shard does nothing", () => {
    expect(shard.retire()).toEqual([]);
    shard.expectSettled(0);
  });

  test("of a shard with only its active segment seals that and takes it", () => {
    const values = blobs(3);
    shard.put(...values);
    expect(shard.retire()).toEqual([1]);
    shard.expectAbsent(...values);
    shard.expectSettled(0);
    shard.put(...values);
    shard.expectStored(...values);
    shard.expectSettled();
  });

  test("goes on after a restart where it was: older segments first", () => {
    const filled = fill(4);
    shard.retire();
    open();
    expect(shard.retire()).toEqual([2]);
    shard.expectAbsent(...filled[1]!);
    shard.expectStored(...filled[2]!, ...filled[3]!);
    shard.expectSettled();
  });

  test("of a segment whose file somebody removed frees its room and is not stuck", () => {
    const filled = fill(3);
    rmSync(segmentPath(shard.paths.segments, 1));
    expect(shard.retire()).toEqual([1]);
    shard.expectAbsent(...filled[0]!);
    expect(shard.retire()).toEqual([2]);
    shard.expectStored(...filled[2]!);
    shard.expectSettled();
  });
});

describe("H8: a read error", () => {
  test("of a whole segment does not keep it from being retired, and leaves no entry that points into it", () => {
    const filled = fill(3);
    for (const value of filled[0]!) shard.use(value);
    let failing = "";
    shard.fileSystem.before = ({ name, file }) => {
      if (name === "open") failing = file;
      if (name === "read" && failing === "00000001.seg") throw fileError("EIO");
    };
    expect(shard.retire()).toEqual([1]);
    shard.fileSystem.before = () => undefined;
    shard.expectAbsent(...filled[0]!);
    shard.expectStored(...filled[1]!, ...filled[2]!);
    shard.expectSettled();
  });

  test("of one record loses that record and no other", () => {
    const [oldest] = fill(3);
    const leased = oldest!.slice(0, 5);
    for (const value of leased) shard.use(value);
    let reads = 0;
    shard.fileSystem.before = ({ name }) => {
      reads += name === "read" ? 1 : 0;
      // Header, footer tail, footer table, then the records.
      if (name === "read" && reads === 5) throw fileError("EIO");
    };
    expect(shard.retire()).toEqual([1]);
    shard.fileSystem.before = () => undefined;
    expect(leased.filter((value) => shard.find(value) === undefined)).toEqual([leased[1]]);
    shard.expectStored(...leased.filter((_, i) => i !== 1));
    shard.expectSettled();
  });
});

describe("what is copied forward", () => {
  test("is what holds a lease, and it is there after a restart too", () => {
    const [oldest, ...younger] = fill(3);
    const leased = oldest!.slice(2, 9);
    for (const value of leased) shard.use(value);
    shard.pass(LEASE_SECONDS - 5);
    expect(shard.retire()).toEqual([1]);
    shard.expectStored(...leased, ...younger.flat());
    shard.expectAbsent(...oldest!.slice(0, 2), ...oldest!.slice(9));
    expect(shard.stats.get("copiedRecords")).toBe(leased.length);
    shard.expectSettled();
    open();
    shard.expectStored(...leased, ...younger.flat());
    shard.expectAbsent(...oldest!.slice(0, 2), ...oldest!.slice(9));
    shard.expectSettled();
  });

  test("is, of what was used since it was written and holds no lease, up to half a segment", () => {
    const [oldest] = fill(3);
    for (const value of oldest!) shard.use(value);
    shard.pass(10 * LEASE_SECONDS);
    expect(shard.retire()).toEqual([1]);
    const kept = oldest!.filter((value) => shard.find(value) !== undefined);
    expect(kept.length).toBeGreaterThan(PER_SEGMENT / 4);
    expect(kept.length).toBeLessThanOrEqual(PER_SEGMENT / 2);
    shard.expectStored(...kept);
    shard.expectSettled();
  });

  test("is copied again only if it is used again", () => {
    const [oldest] = fill(2);
    const used = oldest!.slice(0, 3);
    for (const value of used) shard.use(value);
    shard.pass(10 * LEASE_SECONDS);
    shard.shard.close();
    expect(shard.retire()).toEqual([1]);
    shard.expectStored(...used);
    shard.use(used[0]!);
    shard.pass(10 * LEASE_SECONDS);
    expect(shard.retire()).toEqual([2]);
    expect(shard.retire()).toEqual([3]);
    shard.expectStored(used[0]!);
    shard.expectAbsent(used[1]!, used[2]!);
    shard.expectSettled();
  });

  test("is never a value that was replaced, and the one that replaced it stays", () => {
    const old = actionValue("a", Buffer.from("old"));
    const fresh = actionValue("a", Buffer.from("fresh"));
    shard.put(...blobs(PER_SEGMENT - 3), old);
    shard.use(old);
    shard.put(...blobs(PER_SEGMENT), fresh);
    shard.use(fresh);
    expect(shard.retire()).toEqual([1]);
    expect(shard.stats.get("copiedRecords")).toBe(0);
    shard.expectStored(fresh);
    open();
    shard.expectStored(fresh);
    shard.expectSettled();
  });

  test("does not include a record that is damaged; the others are copied", () => {
    const [oldest] = fill(2);
    const [damaged, ...whole] = oldest!.slice(0, 5) as [TestValue, ...TestValue[]];
    for (const value of [damaged, ...whole]) shard.use(value);
    const path = segmentPath(shard.paths.segments, 1);
    const bytes = readFileSync(path);
    bytes[(shard.find(damaged)?.offset ?? 0) + 300]! ^= 1;
    writeFileSync(path, bytes);
    expect(shard.retire()).toEqual([1]);
    shard.expectAbsent(damaged);
    shard.expectStored(...whole);
    expect(shard.stats.get("quarantinedRecords")).toBe(1);
    shard.expectSettled();
  });

  test("keeps its lease", () => {
    const [oldest] = fill(2);
    shard.use(oldest![0]!);
    const before = shard.find(oldest![0]!)?.lastUseSeconds;
    shard.retire();
    expect(shard.find(oldest![0]!)).toMatchObject({ lastUseSeconds: before, verified: true });
  });
});

describe("a segment that is leased as a whole", () => {
  test("is put behind the others instead of being copied", () => {
    const filled = fill(3);
    for (const value of filled[0]!) shard.use(value);
    expect(shard.retire()).toEqual([]);
    expect(shard.stats.get("copiedRecords")).toBe(0);
    expect(shard.stats.get("oldestSegmentId")).toBe(2);
    expect(shard.retire()).toEqual([2]);
    shard.expectStored(...filled[0]!, ...filled[2]!);
    shard.expectSettled();
  });

  test("is retired once its leases have run out and nobody used it since", () => {
    const filled = fill(2);
    for (const value of filled[0]!) shard.use(value);
    shard.pass(1);
    shard.retire();
    shard.pass(LEASE_SECONDS + 1);
    shard.shard.close();
    expect(shard.retire()).toEqual([2]);
    expect(shard.retire()).toEqual([1]);
    shard.expectAbsent(...filled[0]!);
    shard.expectSettled(0);
  });

  test("holding one large blob is kept in place, never copied", () => {
    const large = blobs(1, MIB)[0]!;
    shard.adopt(large);
    shard.use(large);
    const small = blobs(PER_SEGMENT);
    shard.put(...small);
    expect(shard.retire()).toEqual([]);
    expect(shard.stats.get("copiedBytes")).toBe(0);
    shard.expectStored(large, ...small);
    shard.expectSettled();
  });

  test("does not bring back, at the next start, a value that was replaced and whose successor is gone", () => {
    const old = actionValue("a", Buffer.from("old"));
    const leased = blobs(PER_SEGMENT - 1);
    shard.put(old, ...leased);
    shard.put(...blobs(PER_SEGMENT - 1), actionValue("a", Buffer.from("fresh")));
    shard.put(...blobs(PER_SEGMENT));
    expect(shard.find(old)?.segmentId).toBe(2);
    shard.pass(1);
    for (const value of leased) shard.use(value);
    // The first one is kept, as a whole or as copies; the second one goes.
    while (shard.segmentIds().includes(2)) shard.retire();
    shard.expectStored(...leased);
    shard.expectAbsent(old);
    open();
    shard.expectStored(...leased);
    shard.expectAbsent(old);
  });

  test("does not bring it back either where the value was replaced after the segment had been kept", () => {
    const old = actionValue("a", Buffer.from("old"));
    const leased = blobs(PER_SEGMENT - 1);
    shard.put(old, ...leased);
    shard.put(...blobs(5));
    for (const value of [old, ...leased]) shard.use(value);
    expect(shard.retire(), "kept as a whole").toEqual([]);
    shard.pass(10 * LEASE_SECONDS);
    // Now in what was the active segment at that moment, or in a new one.
    shard.put(actionValue("a", Buffer.from("fresh")));
    const holder = shard.find(old)!.segmentId;
    shard.shard.close();
    shard.pass(10 * LEASE_SECONDS);
    for (const value of leased) shard.use(value);
    while (shard.segmentIds().includes(holder)) shard.retire();
    shard.expectStored(...leased);
    shard.expectAbsent(old);
    open();
    shard.expectStored(...leased);
    shard.expectAbsent(old);
  });
});

describe("what belongs to a favoured owner", () => {
  const ownedBy = (owner: number, { key, bytes }: TestValue): TestValue => ({ key: { ...key, owner }, bytes });

  /** A segment of which each owner has every other record, and one behind it. */
  function mixed(): { ours: TestValue[]; theirs: TestValue[] } {
    const values = blobs(PER_SEGMENT).map((value, i) => ownedBy(1 + (i % 2), value));
    shard.put(...values);
    shard.put(...blobs(PER_SEGMENT));
    shard.pass(1);
    return { ours: values.filter((_, i) => i % 2 === 0), theirs: values.filter((_, i) => i % 2 === 1) };
  }

  test("is copied forward although nobody used it; what others have is not", () => {
    const { ours, theirs } = mixed();
    expect(shard.retire(1)).toEqual([1]);
    shard.expectStored(...ours);
    shard.expectAbsent(...theirs);
    shard.expectSettled();
    open();
    shard.expectStored(...ours);
    expect(shard.find(ours[0]!)?.owner).toBe(1);
  });

  test("goes like everything else where nobody is favoured, or another one", () => {
    const { ours, theirs } = mixed();
    expect(shard.retire(7)).toEqual([1]);
    shard.expectAbsent(...ours, ...theirs);
  });

  test("is never nobody's", () => {
    const [oldest] = fill(2);
    expect(shard.retire(1, 2)).toEqual([1]);
    shard.expectAbsent(...oldest!);
  });

  test("is kept in place where it fills the segment, again and again, and is not copied", () => {
    const ours = blobs(PER_SEGMENT).map((value) => ownedBy(1, value));
    shard.put(...ours);
    shard.put(...blobs(PER_SEGMENT));
    shard.put(...blobs(PER_SEGMENT));
    for (let round = 0; round < 20; round += 1) {
      while (shard.retire(1).length > 0);
      shard.put(...blobs(PER_SEGMENT));
    }
    shard.expectStored(...ours);
    expect(shard.stats.get("copiedRecords")).toBe(0);
    shard.expectSettled();
  });

  test("gives nothing back where little of it is copied into a segment of its own", () => {
    const ours = blobs(1, 1).map((value) => ownedBy(1, value));
    shard.put(...ours);
    const { bytesUsed } = shard.ledger;
    // Its header and footer are so much of it that it is not kept as it is.
    expect(shard.retire(1)).toEqual([1]);
    expect(shard.ledger.bytesUsed).toBe(bytesUsed);
    shard.expectStored(...ours);
  });

  test("does not cost others their leases", () => {
    const { ours, theirs } = mixed();
    const leased = theirs.slice(0, 3);
    for (const value of leased) shard.use(value);
    expect(shard.retire(1)).toEqual([1]);
    shard.expectStored(...ours, ...leased);
    shard.expectAbsent(...theirs.slice(3));
    expect(shard.stats.get("leasesBroken")).toBe(0);
  });

  test("is not favoured once leases have spent half of the credit", () => {
    // Credit for about two and a half segments, of which one and a half are spent.
    open({ bytesMax: 100_000 });
    const ours = blobs(PER_SEGMENT).map((value) => ownedBy(1, value));
    const leased = blobs(2 * PER_SEGMENT);
    shard.put(...leased);
    for (const value of leased) shard.use(value);
    shard.put(...ours);
    shard.put(...blobs(PER_SEGMENT));
    for (const value of leased) shard.use(value);
    expect(shard.retire(1), "kept as a whole").toEqual([]);
    expect(shard.retire(1), "kept as a whole").toEqual([]);
    expect(shard.retire(1)).toEqual([3]);
    shard.expectAbsent(...ours);
    shard.expectStored(...leased);
    expect(shard.stats.get("leasesBroken")).toBe(0);
  });

  test("is kept round after round: what is copied for its sake costs no credit", () => {
    open({ bytesMax: 100_000 });
    const { ours } = mixed();
    for (let round = 0; round < 30; round += 1) {
      shard.retire(1);
      shard.expectStored(...ours);
      if (shard.stats.get("segments") < 3) shard.put(...blobs(PER_SEGMENT));
    }
    expect(shard.stats.get("copiedBytes")).toBeGreaterThan(100_000);
    shard.expectSettled();
  });
});

describe("the bound of copying", () => {
  test("everything leased: retirement still makes room, and counts the leases that it breaks", () => {
    open({ bytesMax: 200_000 });
    const filled = fill(8);
    for (const value of filled.flat()) shard.use(value);
    const before = shard.ledger.bytesUsed;
    let steps = 0;
    while (shard.ledger.bytesUsed > before / 2) {
      shard.retire();
      steps += 1;
      expect(steps).toBeLessThan(100);
      shard.expectSettled();
    }
    expect(shard.stats.get("leasesBroken")).toBeGreaterThan(0);
  });

  test("of a failed copy is not spent: leases are honoured after many failures", () => {
    open({ bytesMax: 200_000 });
    const [oldest] = fill(3);
    const leased = oldest!.slice(0, 9);
    for (const value of leased) shard.use(value);
    shard.fileSystem.before = ({ name }) => {
      if (name === "writeVector") throw fileError("ENOSPC");
    };
    for (let i = 0; i < 30; i += 1) expect(() => shard.retire()).toThrow("ENOSPC");
    shard.fileSystem.before = () => undefined;
    expect(shard.retire()).toEqual([1]);
    expect(shard.stats.get("leasesBroken")).toBe(0);
    shard.expectStored(...leased);
    shard.expectSettled();
  });
});

describe("copying while the shard works", () => {
  /** Of eight leased blobs of sixteen in the oldest segment, copied in two slices. */
  function openLarge(): { leased: TestValue[]; action: TestValue } {
    open({ segmentBytesMax: 20 * MIB });
    const action = actionValue("a", Buffer.from("old"));
    const values = blobs(16, MIB);
    shard.put(action, ...values.slice(0, 8));
    shard.put(...values.slice(8));
    shard.shard.close();
    const leased = values.slice(4, 12);
    for (const value of [action, ...leased]) shard.use(value);
    shard.put(...blobs(1));
    return { leased, action };
  }

  test("uploads in between are stored, and a value that is replaced meanwhile stays replaced", () => {
    const { leased, action } = openLarge();
    const fresh = actionValue("a", Buffer.from("fresh"));
    const others = blobs(6);
    const job = shard.shard.retire(undefined);
    expect(job.next().done).toBe(false);
    expect(shard.put(fresh, ...others).map(({ status }) => status)).toEqual(Array(7).fill("stored"));
    shard.expectStored(...leased, ...others, fresh);
    expect(finish(job).retiredSegmentIds).toEqual([1]);
    shard.expectStored(...leased, ...others, fresh);
    expect(action.key).toEqual(fresh.key);
    shard.expectSettled();
    open({ segmentBytesMax: 20 * MIB });
    shard.expectStored(...leased, ...others, fresh);
    shard.expectSettled();
  });

  test("H5: copies that were lost with a failed sync of a group do not replace the originals", () => {
    const { leased } = openLarge();
    const active = shard.segmentIds().at(-1)!;
    const syncedBytes = shard.segmentFileBytes(active);
    const job = shard.shard.retire(undefined);
    expect(job.next().done).toBe(false);
    shard.fileSystem.failOnce(({ name }) => name === "syncData", "EIO");
    expect(shard.put(...blobs(1))).toMatchObject([{ code: "unavailable" }]);
    try {
      finish(job);
    } catch {
      // Whether it fails or copies anew is its affair.
    }
    // What the kernel dropped.
    truncateSync(segmentPath(shard.paths.segments, active), syncedBytes);
    shard.expectStored(...leased);
    if (shard.segmentIds().includes(1)) shard.retire();
    expect(shard.segmentIds()).not.toContain(1);
    shard.expectStored(...leased);
    open({ segmentBytesMax: 20 * MIB });
    shard.expectStored(...leased);
  });

  test("H3: nobody is sent to a copy before it is synced", () => {
    const { leased } = openLarge();
    const copySegment = shard.segmentIds().at(-1)!;
    const early: string[] = [];
    let isSynced = false;
    shard.fileSystem.before = ({ name }) => {
      if (name === "syncData") isSynced = true;
      else if (!isSynced) {
        for (const value of leased) if (shard.find(value)?.segmentId === copySegment) early.push(name);
      }
    };
    expect(shard.retire()).toEqual([1]);
    expect(early).toEqual([]);
    shard.expectStored(...leased);
    shard.expectSettled();
  });

  test.each(["writeVector", "syncData", "open"] as const)(
    "a failing %s leaves every leased blob readable, and the next attempt succeeds",
    (failing) => {
      let attempts = 0;
      for (let left = 0; left <= 0;) {
        attempts += 1;
        left = attempts;
        const values = blobs(PER_SEGMENT);
        shard.put(...values);
        shard.shard.close();
        const leased = values.slice(0, 9);
        for (const value of leased) shard.use(value);
        shard.put(...blobs(1));
        shard.fileSystem.before = ({ name }) => {
          left -= name === failing ? 1 : 0;
          if (name === failing && left === 0) throw fileError(failing === "open" ? "EMFILE" : "EIO");
        };
        try {
          shard.retire();
        } catch {
          // As it should where the call failed.
        }
        shard.fileSystem.before = () => undefined;
        shard.expectStored(...leased);
        shard.expectSettled();
        while (shard.segmentIds().length > 1) shard.retire();
        shard.expectSettled();
        shard.pass(10 * LEASE_SECONDS);
        while (shard.segmentIds().length > 0) shard.retire();
        shard.expectSettled(0);
      }
      expect(attempts).toBeGreaterThan(1);
    },
  );
});
