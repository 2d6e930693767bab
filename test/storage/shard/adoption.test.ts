import { keyBytes } from "../../../src/cache/key-words.ts";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { segmentPath } from "../../../src/storage/segment/segment-file.ts";
import { randomContents } from "../../support/cas-content.ts";
import { fileError } from "../../support/faulty-file-system.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { actionValue, finish, TestShard, type TestShardOptions, type TestValue } from "../../support/test-shard.ts";

const random = seededRandom(testSeed("adoption"));
/** More than one slice, so that other work of the shard comes in between. */
const LARGE_BYTES = 9 * 1024 * 1024;
let directory: TemporaryDirectory;
let shard: TestShard;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("adoption");
  open();
});
afterEach(() => directory[Symbol.asyncDispose]());

function open(options: Partial<TestShardOptions> = {}): void {
  shard = new TestShard(directory.path, { random, ...options });
}

const blob = (sizeBytes = 300_000): TestValue => randomContents(random, [sizeBytes])[0]!;
const fileOf = (segmentId: number): string => basename(segmentPath("", segmentId));

describe("a large temp file", () => {
  test.each([1, 262_144, 262_145, LARGE_BYTES])("of %i bytes becomes a sealed segment by rename", (sizeBytes) => {
    const value = blob(sizeBytes);
    expect(shard.adopt(value)).toEqual({ status: "stored" });
    shard.expectStored(value);
    expect(shard.segmentIds()).toEqual([1]);
    expect(shard.inspect(1)).toMatchObject({ sealed: true, header: { segmentId: 1, shardIndex: 0, shardCount: 1 } });
    expect(shard.inspect(1).records).toHaveLength(1);
    expect(shard.fileSystem.history("rename")).toEqual([`rename ${fileOf(1)}`]);
    shard.expectSettled(0);
    open();
    shard.expectStored(value);
    shard.expectSettled();
  });

  test("is read back by a scan too, where its footer is torn", () => {
    const value = blob();
    shard.adopt(value);
    const before = shard.segmentFileBytes(1);
    const fd = shard.fileSystem.open(segmentPath(shard.paths.segments, 1), "update");
    shard.fileSystem.truncate(fd, before - 1);
    open();
    expect(shard.recovered.warnings.join()).toContain("was not sealed");
    shard.expectStored(value);
    shard.expectSettled();
  });

  test("I2: is synced before it is renamed, the directory after that, and only then is it visible", () => {
    const value = blob(LARGE_BYTES);
    const visible: boolean[] = [];
    shard.fileSystem.before = () => visible.push(shard.find(value) !== undefined);
    shard.adopt(value);
    // The descriptor is closed last, when the segment is what it will be.
    expect(visible.slice(0, -1)).not.toContain(true);
    const order = shard.fileSystem
      .history("writeVector", "syncData", "rename", "syncDirectory")
      .map((line) => line.split(" ")[0]);
    expect(order.slice(-5)).toEqual(["writeVector", "writeVector", "syncData", "rename", "syncDirectory"]);
  });

  test("with another hash than its key is refused and removed", () => {
    const [value, other] = [blob(), blob()];
    expect(shard.adopt({ key: value.key, bytes: other.bytes })).toMatchObject({
      status: "failed",
      code: "invalid_argument",
      message: expect.stringContaining(Buffer.from(keyBytes(value.key.words)).toString("hex")),
    });
    shard.expectAbsent(value);
    shard.expectSettled(0);
    expect(shard.segmentIds()).toEqual([]);
  });

  test.each([-1, 1])("whose size differs by %i from what was said is refused and removed", (difference) => {
    const value = blob();
    expect(shard.adopt(value, value.bytes.length + difference)).toMatchObject({ code: "invalid_argument" });
    shard.expectAbsent(value);
    shard.expectSettled(0);
  });

  test("that is gone fails and leaves nothing", () => {
    const value = blob();
    const job = shard.adopting(value);
    for (const name of readdirSync(shard.paths.staging)) rmSync(`${shard.paths.staging}/${name}`);
    expect(finish(job)).toMatchObject({ status: "failed" });
    shard.expectSettled(0);
  });

  test("of a blob that is there already is removed", () => {
    const value = blob();
    shard.put(value);
    expect(shard.adopt(value)).toEqual({ status: "present" });
    shard.expectStored(value);
    shard.expectSettled();
    expect(shard.segmentIds()).toEqual([1]);
  });
});

describe("I4: two uploads of one large blob", () => {
  test("slice by slice in turns are one segment, and both succeed", () => {
    const value = blob(LARGE_BYTES);
    const jobs = [shard.adopting(value), shard.adopting(value)];
    const outcomes: unknown[] = [];
    for (let running = jobs; running.length > 0;) {
      running = running.filter((job) => {
        const step = job.next();
        if (step.done === true) outcomes.push(step.value);
        return step.done !== true;
      });
    }
    expect(outcomes).toEqual([{ status: "stored" }, { status: "present" }]);
    expect(shard.segmentIds()).toHaveLength(1);
    shard.expectStored(value);
    shard.expectSettled(0);
  });

  test("of which one goes through a group commit in between", () => {
    const value = blob(LARGE_BYTES);
    const job = shard.adopting(value);
    job.next();
    expect(shard.put(value)).toEqual([{ status: "stored" }]);
    expect(finish(job)).toEqual({ status: "present" });
    shard.expectStored(value);
    shard.expectSettled();
  });

  test("of which the first one lies", () => {
    const value = blob(LARGE_BYTES);
    const liar = shard.adopting({ key: value.key, bytes: random.bytes(LARGE_BYTES) });
    const honest = shard.adopting(value);
    liar.next();
    honest.next();
    expect(finish(liar)).toMatchObject({ code: "invalid_argument" });
    expect(finish(honest)).toEqual({ status: "stored" });
    shard.expectStored(value);
    shard.expectSettled(0);
  });
});

describe("whichever call fails", () => {
  test.each(["EIO", "ENOSPC"])("nothing is visible, staged, open or left on the ledger (%s)", (code) => {
    let failures = 0;
    for (let nth = 1; ; nth += 1) {
      open();
      const value = blob(LARGE_BYTES);
      let left = nth;
      const kept = blob(500);
      shard.put(kept);
      shard.fileSystem.before = ({ name }) => {
        if (name === "close" || name === "remove") return;
        left -= 1;
        if (left === 0) throw fileError(code);
      };
      const outcome = shard.adopt(value);
      shard.fileSystem.before = () => undefined;
      shard.expectStored(kept);
      const wasTold = outcome.status === "failed";
      expect(wasTold, `call ${nth}`).toBe(left <= 0);
      if (!wasTold) break;
      failures += 1;
      expect(outcome.code).toBe(code === "EIO" ? "unavailable" : "storage_full");
      shard.expectAbsent(value);
      shard.expectSettled();
      open();
      shard.expectStored(kept);
    }
    expect(failures).toBeGreaterThan(8);
  });

  test("of the index that is full, no segment stays", () => {
    open({ entryCountMax: 1 });
    const kept = blob(500);
    shard.put(kept);
    expect(shard.adopt(blob())).toMatchObject({ code: "storage_full" });
    shard.expectStored(kept);
    shard.expectSettled();
    expect(shard.segmentIds()).toEqual([1]);
  });
});

describe("values that replace each other", () => {
  const small = (text: string): TestValue => actionValue("a", Buffer.from(text));
  const large = (): TestValue => actionValue("a", random.bytes(300_000));

  test("large before small, small before large: after a restart the newest counts", () => {
    const [first, second, third, fourth] = [small("1"), large(), small("3"), large()];
    for (const [i, value] of [first, second, third, fourth, small("5"), small("6")].entries()) {
      const outcome = i % 2 === 1 && value.bytes.length > 1 ? shard.adopt(value) : shard.put(value)[0];
      expect(outcome).toEqual({ status: "stored" });
      shard.expectStored(value);
      shard.expectSettled();
      open();
      shard.expectStored(value);
    }
  });

  test("without a restart in between the newest counts after one", () => {
    shard.put(small("first"));
    expect(shard.adopt(large())).toEqual({ status: "stored" });
    const newest = small("newest");
    shard.put(newest);
    open();
    shard.expectStored(newest);
    shard.expectSettled();
  });

  test("one that was being adopted while another was put: after a restart the same one counts as before", () => {
    const [older, newer] = [actionValue("a", random.bytes(LARGE_BYTES)), small("newer")];
    const job = shard.adopting(older);
    job.next();
    shard.put(newer);
    finish(job);
    shard.put(...randomContents(random, [10, 20]));
    const counted = [older, newer].find((value) => shard.read(value)?.equals(value.bytes));
    expect(counted).toBeDefined();
    open();
    shard.expectStored(counted!);
    shard.expectSettled();
  });
});

test("a shard with a full disk adopts again once there is room", () => {
  shard.fileSystem.failOnce(({ name }) => name === "writeVector", "ENOSPC");
  const value = blob();
  expect(shard.adopt(value)).toMatchObject({ code: "storage_full" });
  expect(shard.adopt(value)).toEqual({ status: "stored" });
  shard.expectStored(value);
  shard.expectSettled(0);
  expect(existsSync(shard.paths.staging)).toBe(true);
});
