import { describe, expect, test } from "vitest";
import { StagingSlab } from "../../../src/storage/staging/staging-slab.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

describe("StagingSlab", () => {
  test("gives each block to one upload at a time, and its bytes to no other block", () => {
    const random = seededRandom(testSeed("StagingSlab"));
    const slab = new StagingSlab(64 * 16, 16);
    const owned = new Map<number, number>();
    const faults: string[] = [];
    for (let step = 1; step < 5000; step += 1) {
      const block = random.int(0, 1) === 0 ? slab.take() : undefined;
      if (block !== undefined) {
        if (owned.has(block)) faults.push(`step ${step}: block ${block} was given out twice`);
        owned.set(block, step & 0xff);
        slab.view(block).fill(step & 0xff);
      } else {
        const given = [...owned.keys()].filter(() => random.int(0, 3) === 0);
        for (const block of given) owned.delete(block);
        slab.give(given);
      }
      expect(slab.bytesInUse).toBe(owned.size * 16);
    }
    expect(faults).toEqual([]);
    for (const [block, mark] of owned) expect([...slab.view(block)]).toEqual(Array(16).fill(mark));
    const rest = Array.from({ length: slab.blockCount - owned.size }, () => slab.take());
    expect(new Set([...rest, ...owned.keys()])).toEqual(new Set(Array(slab.blockCount).keys()));
    expect(slab.take()).toBeUndefined();
  });

  test("is shared memory of whole blocks, one at least", () => {
    expect(new StagingSlab(100, 16).buffer.byteLength).toBe(96);
    const least = new StagingSlab(1, 16);
    expect(least.blockCount).toBe(1);
    expect(least.view(0)).toHaveLength(16);
    expect(least.view(0).buffer).toBe(least.buffer);
    expect([least.take(), least.take()]).toEqual([0, undefined]);
  });

  test("promises half of itself, and what was given back again", () => {
    const slab = new StagingSlab(8192, 1024);
    expect(slab.tryPromise(3000)).toBe(true);
    expect(slab.tryPromise(1097)).toBe(false);
    expect(slab.tryPromise(1096)).toBe(true);
    slab.unpromise(3000);
    expect(slab.tryPromise(3001)).toBe(false);
    expect(slab.tryPromise(3000)).toBe(true);
  });
});
