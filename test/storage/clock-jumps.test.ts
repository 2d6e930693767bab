import { afterEach, beforeEach, expect, test } from "vitest";
import { actionKey } from "../../src/cache/entry-key.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import { nodeFileSystem } from "../../src/storage/file-system.ts";
import { openShard } from "../../src/storage/shard/open-shard.ts";
import type { ShardClient, StartShard } from "../../src/storage/shard/shard-client.ts";
import type { ShardTask } from "../../src/storage/shard/shard-protocol.ts";
import { type CasContent, randomContent, randomContents } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { MIB, openTestEngine, type TestEngine } from "../support/test-engine.ts";

const TEN_YEARS_MS = 10 * 365 * 24 * 3_600_000;
const random = seededRandom(testSeed("clock jumps"));
let directory: TemporaryDirectory;
let engine: TestEngine;
let wallOffsetMs = 0;
/** A wall clock that somebody sets, over a monotonic one that nobody can. */
const clock: Clock = {
  wallMs: () => systemClock.wallMs() + wallOffsetMs,
  monotonicMs: () => systemClock.monotonicMs(),
};

/** A shard in this thread: a worker would have a clock of its own. */
const startHere: StartShard = (data) => {
  const server = openShard(data, data.shardIndex + 1, nodeFileSystem, clock);
  const client: Pick<ShardClient, "callsInFlight" | "terminate"> & { call: (...task: unknown[]) => Promise<unknown> } =
    {
      callsInFlight: 0,
      call: (method, request) => server.handle({ method, request } as ShardTask),
      terminate: () => Promise.resolve(),
    };
  return client as ShardClient;
};

async function open(): Promise<void> {
  engine = await openTestEngine({
    directory: directory.path,
    maxBytes: 32 * MIB,
    segmentBytesMax: MIB,
    shardCount: 1,
    minLeaseMs: 3 * 3_600_000,
    clock,
    startShard: startHere,
  });
}

beforeEach(async () => {
  wallOffsetMs = 0;
  directory = await makeTemporaryDirectory("clock");
  await open();
});
afterEach(async () => {
  await engine.close();
  await directory[Symbol.asyncDispose]();
});

const putAll = (contents: readonly CasContent[]): Promise<unknown> =>
  Promise.all(contents.map(({ key, bytes }) => engine.store.put(key, bytes)));
const fillers = (): CasContent[] => randomContents(random, Array<number>(60).fill(400 * 1024));

test.each([
  ["ahead", TEN_YEARS_MS],
  ["back", -TEN_YEARS_MS],
])(
  "H11: leases, order and start survive a wall clock that jumps ten years %s, and back again",
  async (_way, jumpMs) => {
    const leased = randomContents(random, Array<number>(20).fill(30 * 1024));
    const action = actionKey("", randomContent(random, 10).digest);
    await putAll(leased);
    let version = 0;
    for (const offsetMs of [0, jumpMs, 0, -jumpMs, 0]) {
      wallOffsetMs = offsetMs;
      version += 1;
      await engine.store.put(action, Buffer.from(`${version}`));
      expect(leased.filter(({ key }) => engine.store.find(key, { renew: true }) === undefined)).toEqual([]);
      engine.store.find(action, { renew: true });
      // Nearly the whole budget: what is not leased has to go.
      await putAll(fillers());
      expect((await (await engine.store.get(action))?.bytes())?.toString()).toBe(`${version}`);
      const { bytesUsed, bytesMax, totals } = engine.store.stats();
      expect(bytesUsed).toBeLessThanOrEqual(bytesMax);
      expect(totals.leasesBroken).toBe(0);
    }
    expect(engine.store.stats().totals.retiredSegments).toBeGreaterThan(0);
    for (const offsetMs of [jumpMs, -jumpMs]) {
      wallOffsetMs = offsetMs;
      await engine.close();
      await open();
      expect((await (await engine.store.get(action))?.bytes())?.toString()).toBe(`${version}`);
      expect(leased.filter(({ key }) => engine.store.find(key) === undefined)).toEqual([]);
    }
  },
);
