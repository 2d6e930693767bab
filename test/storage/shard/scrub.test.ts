import { keyBytes } from "../../../src/cache/key-words.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { randomContents } from "../../support/cas-content.ts";
import { fileError } from "../../support/faulty-file-system.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { finish, TestShard, type TestValue } from "../../support/test-shard.ts";

const random = seededRandom(testSeed("scrub"));
const ROUND_BYTES = 1024 * 1024;
let directory: TemporaryDirectory;
let shard: TestShard;
let values: TestValue[];

beforeEach(async () => {
  directory = await makeTemporaryDirectory("scrub");
  shard = new TestShard(directory.path, { random, segmentBytesMax: 20_000 });
  values = randomContents(random, [5000, 6000, 7000]);
  shard.put(...values);
  // Only what is sealed is scrubbed.
  shard.put(...randomContents(random, [15_000]));
});
afterEach(() => directory[Symbol.asyncDispose]());

/** Lets every open of a segment fail but the first, which lists its records. */
function failOpens(code: string): void {
  let opens = 0;
  shard.fileSystem.before = ({ name }) => {
    if (name === "open" && opens++ > 0) throw fileError(code);
  };
}

describe("the scrub", () => {
  test.each(["EMFILE", "ENFILE", "ENOMEM"])("H9: takes %s for no damage", (code) => {
    failOpens(code);
    expect(finish(shard.shard.scrub(ROUND_BYTES)).corrupt).toEqual([]);
    shard.fileSystem.before = () => undefined;
    shard.expectStored(...values);
  });

  test.each(["ENOENT", "EIO"])("H8: takes out what it cannot read for %s, and reports it", (code) => {
    failOpens(code);
    const { corrupt } = finish(shard.shard.scrub(ROUND_BYTES));
    shard.fileSystem.before = () => undefined;
    expect(corrupt.map(({ key }) => Buffer.from(key))).toEqual(
      values.map(({ key }) => Buffer.from(keyBytes(key.words))),
    );
    shard.expectAbsent(...values);
  });
});
