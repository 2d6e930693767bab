import { describe, expect, test } from "vitest";
import { DiskLedger } from "../../src/storage/disk-ledger.ts";
import { Retirement, type RetirementOptions } from "../../src/storage/retirement.ts";
import type { ShardClient } from "../../src/storage/shard/shard-client.ts";
import type { SegmentSummary } from "../../src/storage/shard/shard-protocol.ts";
import { ShardStats } from "../../src/storage/shard/shard-stats.ts";

const SEGMENT_BYTES = 100;

/** A shard that gives back a segment at each call, the lowest id first. */
class FakeShard implements ShardClient {
  readonly callsInFlight = 0;
  readonly stats = new ShardStats();
  readonly #ledger: DiskLedger;
  readonly #ids: number[];
  /** Segments that are leased: they are kept. */
  leased = false;
  /** Segments are kept as long as somebody is favoured. */
  belongsToFavoured = false;
  /** Who was, at each call. */
  readonly favoured: (readonly number[])[] = [];
  failure: Error | undefined;
  needsEntries = (): boolean => false;
  deaths = 0;
  /** Foreign segments that it was asked to take its keys out of. */
  readonly foreignIds: number[] = [];
  onForeign = (): void => {};

  constructor(ledger: DiskLedger, ids: number[]) {
    this.#ledger = ledger;
    this.#ids = ids;
    ledger.charge(ids.length * SEGMENT_BYTES);
    this.#publish();
  }

  get client(): ShardClient {
    return this;
  }

  deathCount = (): number => this.deaths;

  call = (async (_method: "retire", request: { foreignSegmentId?: number; favouredOwners?: readonly number[] }) => {
    await Promise.resolve();
    const { favouredOwners = [] } = request;
    this.favoured.push(favouredOwners);
    const isKept = this.leased || (this.belongsToFavoured && favouredOwners.length > 0);
    if (this.failure !== undefined) throw this.failure;
    if (request.foreignSegmentId !== undefined) {
      this.foreignIds.push(request.foreignSegmentId);
      this.onForeign();
    }
    if (request.foreignSegmentId !== undefined || isKept) return { retiredSegmentIds: [], freedBytes: 0 };
    const id = this.#ids.shift();
    this.#publish();
    if (id === undefined) return { retiredSegmentIds: [], freedBytes: 0 };
    this.#ledger.release(SEGMENT_BYTES);
    return { retiredSegmentIds: [id], freedBytes: SEGMENT_BYTES };
  }) as ShardClient["call"];

  terminate(): Promise<void> {
    return Promise.resolve();
  }

  #publish(): void {
    this.stats.set("segments", this.#ids.length);
    this.stats.set("oldestSegmentId", this.#ids[0] ?? 0);
  }
}

function setUp(idsOfShards: number[][], options: Partial<RetirementOptions> = {}) {
  const ledger = new DiskLedger(10_000);
  const shards = idsOfShards.map((ids) => new FakeShard(ledger, ids));
  const retired: number[] = [];
  const errors: unknown[] = [];
  const retirement = new Retirement({
    ledger,
    shards,
    bytesTarget: () => 300,
    foreign: [],
    favouredOwners: () => [],
    removeForeign: () => ledger.release(SEGMENT_BYTES),
    onRetired: (ids) => void retired.push(...ids),
    onError: (error) => void errors.push(error),
    ...options,
  });
  return { ledger, shards, retired, errors, retirement };
}

const summary = (segmentId: number): SegmentSummary => ({ segmentId, accountedBytes: SEGMENT_BYTES }) as SegmentSummary;

describe("Retirement", () => {
  test("takes the oldest segment of all shards until no more than the target is used", async () => {
    const { ledger, retired, retirement } = setUp([
      [1, 4, 5],
      [2, 3, 6],
    ]);
    retirement.check();
    await expect.poll(() => ledger.bytesUsed).toBe(300);
    expect(retired).toEqual([1, 2, 3]);
    retirement.check();
    await retirement.stop();
    expect(retired).toEqual([1, 2, 3]);
  });

  test("makes more room for as long as a large upload waits for it", async () => {
    let target = 1000;
    const { ledger, retired, retirement } = setUp([[1, 2, 3, 4, 5]], { bytesTarget: () => target });
    retirement.check();
    expect(ledger.bytesUsed).toBe(500);
    target = 150;
    retirement.check();
    await expect.poll(() => ledger.bytesUsed).toBe(100);
    expect(retired).toEqual([1, 2, 3, 4]);
  });

  test("asked again at the very moment at which it ends, it begins anew", async () => {
    let target = 400;
    let isLastLook = false;
    const { ledger, retirement } = setUp([[1, 2, 3, 4, 5]], {
      bytesTarget: () => {
        // Microtasks that follow the last look at what is needed.
        if (ledger.bytesUsed === 400 && !isLastLook) {
          isLastLook = true;
          queueMicrotask(() => {
            target = 0;
            retirement.check();
          });
        }
        return target;
      },
    });
    retirement.check();
    await expect.poll(() => ledger.bytesUsed).toBe(0);
  });

  test("takes foreign segments in their turn, from every shard first and then from the disk", async () => {
    const foreign = [summary(1), summary(4)];
    const removed: number[] = [];
    const { ledger, retirement, retired } = setUp([[2, 5], [3]], {
      foreign,
      bytesTarget: () => 100,
      removeForeign: ({ segmentId, accountedBytes }) => {
        removed.push(segmentId);
        ledger.release(accountedBytes);
      },
    });
    ledger.charge(2 * SEGMENT_BYTES);
    retirement.check();
    await expect.poll(() => ledger.bytesUsed).toBe(100);
    expect(removed).toEqual([1, 4]);
    expect(retired).toEqual([1, 2, 3, 4]);
    expect(foreign).toEqual([]);
  });

  test("asks all shards again where one was started anew meanwhile: it has read its keys again", async () => {
    const { ledger, shards, retirement, retired } = setUp([[2], [3]], {
      foreign: [summary(1)],
      bytesTarget: () => 200,
    });
    ledger.charge(SEGMENT_BYTES);
    // The first has answered by then.
    shards[1]!.onForeign = () => {
      shards[1]!.onForeign = () => {};
      shards[0]!.deaths += 1;
    };
    retirement.check();
    await expect.poll(() => ledger.bytesUsed).toBe(200);
    expect(retired).toEqual([1]);
    expect(shards.map(({ foreignIds }) => foreignIds)).toEqual([
      [1, 1],
      [1, 1],
    ]);
  });

  test("ends where everything is leased, and tries again when asked", async () => {
    const { ledger, shards, retirement } = setUp([[1, 2, 3, 4], [5]]);
    for (const shard of shards) shard.leased = true;
    retirement.check();
    await retirement.stop();
    expect(ledger.bytesUsed).toBe(500);
  });

  test("tells the shards who is favoured at each step", async () => {
    const favoured = [[1, 2], [2]];
    const { shards, ledger, retirement } = setUp([[1, 2, 3, 4, 5]], { favouredOwners: () => favoured.shift() ?? [] });
    retirement.check();
    await expect.poll(() => ledger.bytesUsed).toBe(300);
    expect(shards[0]!.favoured).toEqual([[1, 2], [2]]);
  });

  test("favours nobody for a step where all that could go is theirs, and goes on", async () => {
    const { shards, ledger, retirement } = setUp(
      [
        [1, 2, 3],
        [4, 5],
      ],
      { favouredOwners: () => [7] },
    );
    for (const shard of shards) shard.belongsToFavoured = true;
    retirement.check();
    await expect.poll(() => ledger.bytesUsed).toBe(300);
    await retirement.stop();
    const unfavoured = shards.flatMap(({ favoured }) => favoured).filter((owners) => owners.length === 0);
    expect(unfavoured).toHaveLength(2);
  });

  test("ends where what one step frees the next one takes again", async () => {
    const { ledger, shards, retirement } = setUp([[1, 2, 3, 4, 5]]);
    let steps = 0;
    shards[0]!.call = (() => {
      steps += 1;
      const freedBytes = steps % 2 === 1 ? 10 : -10;
      ledger.release(freedBytes);
      return Promise.resolve({ retiredSegmentIds: [], freedBytes });
    }) as ShardClient["call"];
    retirement.check();
    await expect.poll(() => steps).toBe(8);
    await retirement.stop();
    expect([steps, ledger.bytesUsed]).toEqual([8, 500]);
  });

  test("frees entries of a shard whose index is nearly full, oldest or not", async () => {
    const { shards, retired, retirement } = setUp([[1], [2, 3]], { bytesTarget: () => 1000 });
    shards[1]!.needsEntries = () => shards[1]!.stats.get("segments") > 1;
    retirement.check();
    await expect.poll(() => retired).toEqual([2]);
    await retirement.stop();
    expect(retired).toEqual([2]);
  });

  test("reports a failure and goes on when it is asked again", async () => {
    const { ledger, shards, errors, retirement } = setUp([[1, 2, 3, 4]]);
    shards[0]!.failure = new Error("disk");
    retirement.check();
    await expect.poll(() => errors).toHaveLength(1);
    shards[0]!.failure = undefined;
    retirement.check();
    await expect.poll(() => ledger.bytesUsed).toBe(300);
  });

  test("stops after the step that it is at", async () => {
    const { ledger, retirement } = setUp([[1, 2, 3, 4, 5, 6, 7]]);
    retirement.check();
    await retirement.stop();
    expect(ledger.bytesUsed).toBe(600);
    retirement.check();
    expect(ledger.bytesUsed).toBe(600);
  });
});
