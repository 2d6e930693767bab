import { rmSync } from "node:fs";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkpointFileName } from "../../../src/storage/index/index-checkpoint.ts";
import { randomContents } from "../../support/cas-content.ts";
import { fileError } from "../../support/faulty-file-system.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { actionValue, TestShard, type TestShardOptions, type TestValue } from "../../support/test-shard.ts";

const KIB = 1024;
const random = seededRandom(testSeed("replay order"));
let directory: TemporaryDirectory;
let shard: TestShard;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("replay");
});
afterEach(() => directory[Symbol.asyncDispose]());

/** Opens the directory, also again, as after a kill. */
function open(options: Partial<TestShardOptions> = {}): void {
  shard = new TestShard(directory.path, { random, segmentBytesMax: 100 * KIB, ...options });
}

const version = (number: number): TestValue => actionValue("a", Buffer.from(`version ${number}`));
const blob = (sizeBytes: number): TestValue => randomContents(random, [sizeBytes])[0] as TestValue;

describe("a start finds the last acknowledged value of a key", () => {
  test("also where a checkpoint covers a segment that a failed sync ended up to less than it holds", () => {
    open();
    shard.put(version(1));
    shard.put(version(2));
    shard.fileSystem.failOnce(({ name }) => name === "syncData", "EIO");
    expect(shard.put(blob(10)).map(({ status }) => status)).toEqual(["failed"]);
    shard.put(version(3));
    shard.shard.close();
    open();
    shard.expectStored(version(3));
  });

  test("or none: an older one does not come back from a segment that was kept whole", () => {
    open({ minLeaseSeconds: 3600 });
    const hot = blob(90 * KIB);
    shard.put(version(1), hot);
    shard.put(version(2), blob(60 * KIB));
    shard.put(blob(90 * KIB));
    shard.use(hot);
    for (let step = 0; step < 2; step += 1) {
      shard.retire();
      shard.use(hot);
    }
    const before = shard.read(version(2));
    open({ minLeaseSeconds: 3600 });
    expect(shard.read(version(1))?.toString()).toBe(before?.toString());
  });

  test("also after a start that could not read it, whose own checkpoint does not hide it", () => {
    open();
    shard.put(version(1));
    // A start opens it to make it whole, to fill the index, and to go on with it.
    let openings = 0;
    open({
      before({ name, file }) {
        if (name !== "open" || !file.endsWith(".seg")) return;
        openings += 1;
        if (openings === 2) throw fileError("EMFILE");
      },
    });
    expect(shard.read(version(1))).toBeUndefined();
    shard.shard.close();
    open();
    shard.expectStored(version(1));
  });

  test("and no checkpoint that was removed comes back with a power cut", () => {
    open();
    shard.put(version(1));
    shard.shard.close();
    rmSync(join(shard.paths.checkpoint, checkpointFileName(0)));
    const synced: string[] = [];
    open({
      before({ name, file }) {
        if (name === "syncDirectory") synced.push(file);
      },
    });
    expect(synced).toContain(basename(shard.paths.checkpoint));
  });
});
