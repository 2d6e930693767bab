import { describe, expect, test } from "vitest";
import { Quotas } from "../../../src/storage/owners/quotas.ts";
import type { Owners } from "../../../src/storage/owners/owners.ts";
import type { IndexReader } from "../../../src/storage/index/index-reader.ts";
import type { ShardClient } from "../../../src/storage/shard/shard-client.ts";

const OWNER = 3;
const NONE = Number.POSITIVE_INFINITY;

/** A shard in which an owner has so much, a part of it leased. */
class FakeShard {
  readonly asked: number[] = [];
  bytes: number;
  leasedBytes: number;
  failure: Error | undefined;

  constructor(bytes: number, leasedBytes = 0) {
    this.bytes = bytes;
    this.leasedBytes = leasedBytes;
  }

  get index(): IndexReader {
    return { ownedBytes: (owner: number) => (owner === OWNER ? this.bytes : 0) } as IndexReader;
  }

  call = (async (_method: "trim", request: { owner: number; bytes: number }) => {
    await Promise.resolve();
    if (this.failure !== undefined) throw this.failure;
    if (request.owner !== OWNER) throw new RangeError(`owner: expected ${OWNER}, got ${request.owner}`);
    this.asked.push(request.bytes);
    const droppedBytes = Math.min(request.bytes, this.bytes - this.leasedBytes);
    this.bytes -= droppedBytes;
    return { droppedBytes };
  }) as ShardClient["call"];
}

function setUp(shards: FakeShard[], quotaBytes = 1600) {
  const complaints: string[] = [];
  const complain = (_fields: object, message: string): void => void complaints.push(message);
  const has = (): number => shards.reduce((sum, { bytes }) => sum + bytes, 0);
  const owners = {
    quotaOf: () => (quotaBytes === NONE ? undefined : quotaBytes),
    *overQuota() {
      if (has() > quotaBytes) yield OWNER;
    },
  } as unknown as Owners;
  const logger = { info: complain, warn: complain, error: complain };
  let nowMs = 0;
  const clock = { monotonicMs: () => nowMs, wallMs: () => nowMs };
  const pass = (ms: number): void => void (nowMs += ms);
  return { quotas: new Quotas({ owners, shards, clock, logger }), complaints, has, pass };
}

describe("making room in a quota", () => {
  test("drops nothing where there is room", async () => {
    const shard = new FakeShard(1000);
    expect(await setUp([shard]).quotas.makeRoom(OWNER, 600)).toBe(true);
    expect(shard.asked).toEqual([]);
  });

  test("asks each shard for its part of what is wanted and of a sixteenth of the quota", async () => {
    const shards = [new FakeShard(1200), new FakeShard(400), new FakeShard(0)];
    expect(await setUp(shards).quotas.makeRoom(OWNER, 100)).toBe(true);
    expect(shards.map(({ asked }) => asked)).toEqual([[150], [50], []]);
  });

  test("asks others where what a shard has is leased", async () => {
    const shards = [new FakeShard(800, 800), new FakeShard(800)];
    expect(await setUp(shards).quotas.makeRoom(OWNER, 400)).toBe(true);
    expect(shards.map(({ bytes }) => bytes)).toEqual([800, 400]);
  });

  test("says so where all is leased, and where the quota is smaller than what is wanted", async () => {
    const shards = [new FakeShard(800, 800), new FakeShard(800, 790)];
    const { quotas } = setUp(shards);
    expect(await quotas.makeRoom(OWNER, 400)).toBe(false);
    const asked = shards.map((shard) => shard.asked.length);
    expect(await quotas.makeRoom(OWNER, 1601)).toBe(false);
    expect(shards.map((shard) => shard.asked.length)).toEqual(asked);
  });

  test("looks for what has lost its lease once a second, however many ask", async () => {
    const shard = new FakeShard(1600, 1600);
    const { quotas, pass } = setUp([shard]);
    const ask = (): Promise<boolean[]> => Promise.all([10, 20, 30].map((bytes) => quotas.makeRoom(OWNER, bytes)));
    expect(await ask()).toEqual([false, false, false]);
    const askedOnce = shard.asked.length;
    pass(999);
    expect(await ask()).toEqual([false, false, false]);
    expect(shard.asked).toHaveLength(askedOnce);
    shard.leasedBytes = 0;
    pass(1);
    expect(await ask()).toEqual([true, true, true]);
  });

  test("for many at the same time goes on until there is room for the largest of them", async () => {
    const shard = new FakeShard(1600);
    const { quotas } = setUp([shard]);
    const waiting = [10, 10, 900, 10].map((bytes) => quotas.makeRoom(OWNER, bytes));
    expect(await Promise.all(waiting)).toEqual([true, true, true, true]);
    expect(shard.asked).toHaveLength(2);
  });

  test("that fails is told of, leaves others alone, and is tried again", async () => {
    const shard = new FakeShard(1600);
    const { quotas, complaints } = setUp([shard]);
    shard.failure = new Error("the worker died");
    expect(await quotas.makeRoom(OWNER, 10)).toBe(false);
    expect(complaints).toHaveLength(1);
    shard.failure = undefined;
    expect(await quotas.makeRoom(OWNER, 10)).toBe(true);
  });

  test("is not needed by those who have no quota", async () => {
    expect(await setUp([new FakeShard(1e12)], NONE).quotas.makeRoom(OWNER, 1e12)).toBe(true);
  });
});

test("what came over the quota all at once is dropped later", async () => {
  const shard = new FakeShard(5000);
  const { quotas, has } = setUp([shard]);
  await quotas.enforce();
  expect(has()).toBe(1500);
});
