import { describe, expect, test } from "vitest";
import { DiskLedger } from "../../../src/storage/disk-ledger.ts";
import { nodeFileSystem } from "../../../src/storage/file-system.ts";
import { decodeOwnerNames, encodeOwnerNames } from "../../../src/storage/owners/owner-names.ts";
import { Owners, type OwnersOptions } from "../../../src/storage/owners/owners.ts";
import { StorePaths } from "../../../src/storage/store-paths.ts";
import { fileError, FaultyFileSystem } from "../../support/faulty-file-system.ts";
import { makeTemporaryDirectory } from "../../support/temporary-directory.ts";

const DAY_MS = 24 * 3_600_000;

const numberOf = (owners: Owners, name: string, isNew: boolean): number | undefined => owners.find(name, isNew)?.owner;

async function setUp() {
  const directory = await makeTemporaryDirectory("owners");
  const clock = { nowMs: 1_700_000_000_000, wallMs: () => clock.nowMs, monotonicMs: () => clock.nowMs };
  const bytes = new Map<number, number>();
  const complaints: string[] = [];
  const complain = (_fields: object, message: string): void => void complaints.push(message);
  const fileSystem = new FaultyFileSystem();
  const ledger = new DiskLedger(1_000_000);
  const options: OwnersOptions = {
    fileSystem,
    path: new StorePaths(directory.path).instances,
    ledger,
    clock,
    logger: { info: complain, warn: complain, error: complain },
    budgetBytes: 100,
    bytesOf: (owner) => bytes.get(owner) ?? 0,
    quotaOf: (name) => (name.startsWith("bounded") ? 50 : undefined),
  };
  const open = (): Owners => new Owners(options);
  /** With an account on which there is so much. */
  const enter = (owners: Owners, name: string, count: number): number => {
    const owner = numberOf(owners, name, true)!;
    bytes.set(owner, count);
    return owner;
  };
  return {
    directory,
    clock,
    bytes,
    complaints,
    fileSystem,
    ledger,
    open,
    enter,
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

describe("an account", () => {
  test("has one number, and none before somebody stores something", async () => {
    await using given = await setUp();
    const owners = given.open();
    expect(numberOf(owners, "a", false)).toBeUndefined();
    expect(numberOf(owners, "a", true)).toBe(1);
    expect(numberOf(owners, "b", true)).toBe(2);
    expect(numberOf(owners, "a", true)).toBe(1);
    expect(numberOf(owners, "", true)).toBe(3);
  });

  test("is nobody's where the name is longer than anybody's, or there are too many", async () => {
    await using given = await setUp();
    const owners = given.open();
    expect(numberOf(owners, "x".repeat(513), true)).toBe(0);
    const numbers = Array.from({ length: 16_385 }, (_, i) => numberOf(owners, `branch ${i}`, true));
    expect(new Set(numbers).size).toBe(16_385);
    expect(numbers.at(-1)).toBe(0);
  });

  test("keeps its number over a restart as long as there is something on it", async () => {
    await using given = await setUp();
    const before = given.open();
    for (const name of ["a", "b", "c"]) given.enter(before, name, 10);
    before.save();
    given.bytes.delete(2);
    const after = given.open();
    expect(["a", "b", "c"].map((name) => numberOf(after, name, false))).toEqual([1, undefined, 3]);
    expect(numberOf(after, "d", true)).toBe(2);
    expect([...after.accounts()]).toEqual([
      { name: "a", bytes: 10, quotaBytes: undefined },
      { name: "c", bytes: 10, quotaBytes: undefined },
    ]);
  });

  test("has the quota of its name, also after a restart", async () => {
    await using given = await setUp();
    const before = given.open();
    given.enter(before, "bounded", 50);
    given.enter(before, "free", 60);
    expect([...before.overQuota()]).toEqual([]);
    before.save();
    given.bytes.set(1, 51);
    const after = given.open();
    expect([...after.overQuota()]).toEqual([1]);
    expect(after.find("bounded", false)).toEqual({ owner: 1, quotaBytes: 50 });
    expect(after.find("free", false)).toEqual({ owner: 2, quotaBytes: undefined });
  });

  test("that has lost its name gives its number to nobody", async () => {
    await using given = await setUp();
    given.bytes.set(1, 10);
    const owners = given.open();
    expect(numberOf(owners, "a", true)).toBe(2);
    expect([...owners.accounts()]).toEqual([{ name: undefined, bytes: 10, quotaBytes: undefined }]);
  });
});

describe("a share", () => {
  test("is that of whoever has read or written within a week", async () => {
    await using given = await setUp();
    const owners = given.open();
    const [forgotten, used, noisy] = [5, 5, 80].map((count, i) => given.enter(owners, `${i}`, count));
    expect(owners.favoured()).toEqual([forgotten, used]);
    given.clock.nowMs += 5 * DAY_MS;
    for (const owner of [used, noisy]) owners.marks.set(owner!);
    expect(owners.favoured()).toEqual([forgotten, used]);
    given.clock.nowMs += 5 * DAY_MS;
    expect(owners.favoured()).toEqual([used]);
    owners.marks.set(forgotten!);
    expect(owners.favoured()).toEqual([forgotten, used]);
  });

  test("is not prolonged by a restart", async () => {
    await using given = await setUp();
    const before = given.open();
    for (const [name, count] of [
      ["forgotten", 5],
      ["noisy", 80],
      ["used", 5],
    ] as const)
      given.enter(before, name, count);
    before.save();
    given.clock.nowMs += 5 * DAY_MS;
    const after = given.open();
    for (const owner of [2, 3]) after.marks.set(owner);
    expect(after.favoured()).toEqual([1, 3]);
    given.clock.nowMs += 3 * DAY_MS;
    expect(after.favoured()).toEqual([3]);
  });
});

describe("the file with the names", () => {
  test("is written when there is a new one, and else once an hour while somebody is in use", async () => {
    await using given = await setUp();
    const owners = given.open();
    const owner = given.enter(owners, "a", 10);
    const writes = (): number => given.fileSystem.calls.filter(({ name }) => name === "rename").length;
    owners.save();
    owners.save();
    expect(writes()).toBe(1);
    owners.marks.set(owner);
    owners.save();
    expect(writes()).toBe(1);
    given.clock.nowMs += 3_600_000;
    owners.save();
    expect(writes()).toBe(2);
    given.clock.nowMs += 3_600_000;
    owners.save();
    expect(writes()).toBe(2);
  });

  test("is on the ledger as it is on disk", async () => {
    await using given = await setUp();
    const owners = given.open();
    for (const name of ["a", "b"]) {
      given.enter(owners, name, 10);
      owners.save();
    }
    const fd = nodeFileSystem.open(new StorePaths(given.directory.path).instances, "read");
    expect(given.ledger.bytesUsed).toBe(nodeFileSystem.sizeOf(fd));
    nodeFileSystem.close(fd);
  });

  test("waits until there is room for it", async () => {
    await using given = await setUp();
    const owners = given.open();
    given.enter(owners, "a", 10);
    given.ledger.charge(999_990);
    owners.save();
    expect(given.ledger.bytesUsed).toBe(999_990);
    expect(numberOf(given.open(), "a", false)).toBeUndefined();
    given.ledger.release(999_990);
    owners.save();
    expect(numberOf(given.open(), "a", false)).toBe(1);
  });

  test("that cannot be written stays as it was, is told of, and tried again", async () => {
    await using given = await setUp();
    const owners = given.open();
    given.enter(owners, "a", 10);
    owners.save();
    given.enter(owners, "b", 10);
    given.fileSystem.failOnce(({ name }) => name === "syncData", "ENOSPC");
    const before = given.ledger.bytesUsed;
    owners.save();
    expect(given.complaints).toHaveLength(1);
    expect(given.ledger.bytesUsed).toBe(before);
    expect(nodeFileSystem.listDirectory(given.directory.path)).toEqual(["instances.json"]);
    expect(numberOf(given.open(), "a", false)).toBe(1);
    owners.save();
    expect(numberOf(given.open(), "b", false)).toBe(2);
  });

  test("that cannot be read leaves accounts without names", async () => {
    await using given = await setUp();
    const owners = given.open();
    given.enter(owners, "a", 10);
    owners.save();
    given.fileSystem.before = ({ name }) => {
      if (name === "read") throw fileError("EIO");
    };
    expect([...given.open().accounts()]).toEqual([{ name: undefined, bytes: 10, quotaBytes: undefined }]);
    expect(given.complaints).toHaveLength(1);
  });
});

describe("the format of the names", () => {
  const owner = { owner: 7, name: 'team/"one"', lastUsedAtMs: 1_700_000_000_000 };

  test("is read as it was written", () => {
    const owners = [owner, { ...owner, owner: 8, name: "" }];
    expect(decodeOwnerNames(encodeOwnerNames(owners))).toEqual(owners);
  });

  test.each([
    ["no JSON", "{"],
    ["nothing", "null"],
    ["of another version", '{"version":2,"instances":[]}'],
    ["without instances", '{"version":1}'],
    ["a number that is none", '{"version":1,"instances":[{"number":0,"name":"a","lastUsedAt":"2026-01-01"}]}'],
    ["a name that is none", '{"version":1,"instances":[{"number":1,"name":2,"lastUsedAt":"2026-01-01"}]}'],
    ["a time that is none", '{"version":1,"instances":[{"number":1,"name":"a","lastUsedAt":"soon"}]}'],
  ])("is not: %s", (_, text) => {
    expect(decodeOwnerNames(Buffer.from(text))).toBeUndefined();
  });
});
