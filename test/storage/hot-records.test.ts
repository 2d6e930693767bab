import { describe, expect, test } from "vitest";
import { HotRecords } from "../../src/storage/hot-records.ts";
import type { FoundEntry } from "../../src/storage/index/index-reader.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const MIB = 1024 * 1024;
const random = seededRandom(testSeed("HotRecords"));

function foundAt(entryNumber: number, segmentId = 1, offset = 64, storedBytes = 1): FoundEntry {
  const sizes = { sizeBytes: storedBytes, storedBytes };
  const others = { space: 1, encoding: 0, owner: 0, verified: true, lastUseSeconds: 0 };
  return { entryNumber, segmentId, offset, ...sizes, ...others };
}

describe("HotRecords", () => {
  test("gives a payload only for the place that it was read from", () => {
    const records = new HotRecords(MIB);
    const payload = Buffer.from("payload");
    records.add(0, foundAt(7, 3, 128), payload);
    expect(records.get(0, foundAt(7, 3, 128))?.bytes).toEqual(payload);
    expect(records.get(0, foundAt(7, 3, 136))).toBeUndefined();
    expect(records.get(0, foundAt(7, 4, 128))).toBeUndefined();
    expect(records.get(0, foundAt(8, 3, 128))).toBeUndefined();
    expect(records.get(1, foundAt(7, 3, 128))).toBeUndefined();
  });

  test("keeps a copy of a small payload: the memory that it was read into may be used again", () => {
    const records = new HotRecords(MIB);
    const read = Buffer.from("payload");
    records.add(0, foundAt(1), read);
    read.fill(0);
    expect(records.get(0, foundAt(1))?.bytes.toString()).toBe("payload");
  });

  test("frees what it lets go of, once whoever looks at it has given it back", () => {
    const records = new HotRecords(MIB);
    const [payload, looker] = [Buffer.allocUnsafeSlow(8192), Buffer.allocUnsafeSlow(8192)];
    records.add(0, foundAt(1), payload).giveBack();
    const first = records.add(0, foundAt(2), looker);
    const second = records.get(0, foundAt(2));
    records.drop(0, 1);
    records.drop(0, 2);
    first.giveBack();
    first.giveBack();
    expect([payload.buffer.byteLength, looker.buffer.byteLength]).toEqual([0, 8192]);
    second?.giveBack();
    expect(looker.buffer.byteLength).toBe(0);
  });

  test("frees what others have driven out, and nothing that is still kept or that was never given back", () => {
    const records = new HotRecords(MIB);
    const payloads = Array.from({ length: 400 }, () => Buffer.allocUnsafeSlow(8192));
    for (const [n, payload] of payloads.entries()) {
      const lent = records.add(0, foundAt(n), payload);
      if (n > 0) lent.giveBack();
      records.get(0, foundAt(1))?.giveBack();
    }
    const keptBytes = payloads.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
    expect(keptBytes - 8192).toBeLessThanOrEqual(MIB);
    expect([payloads[0]?.length, payloads[1]?.length, payloads[2]?.length]).toEqual([8192, 8192, 0]);
    const isFree = payloads
      .slice(1)
      .map(({ length }, i) => [length, records.get(0, foundAt(i + 1)) === undefined ? 0 : 8192]);
    expect(isFree.filter(([bytes, expected]) => bytes !== expected)).toEqual([]);
  });

  test("keeps a copy of a payload that shares its memory", () => {
    const records = new HotRecords(MIB);
    const memory = Buffer.allocUnsafeSlow(64 * 1024);
    records.add(0, foundAt(1), memory.subarray(0, 8192).fill(1));
    memory.fill(0);
    const kept = records.get(0, foundAt(1))?.bytes;
    expect(kept).toEqual(Buffer.alloc(8192, 1));
    expect(kept?.buffer.byteLength).toBe(8192);
  });

  test("lets go of a record and of a segment", () => {
    const records = new HotRecords(MIB);
    for (const entryNumber of [1, 2, 3]) records.add(0, foundAt(entryNumber, entryNumber), Buffer.from("x"));
    records.drop(0, 1);
    records.retire(2);
    expect([1, 2, 3].map((n) => records.get(0, foundAt(n, n))?.bytes.toString())).toEqual([undefined, undefined, "x"]);
  });

  test("admits a small record at once, a larger one at its second read from one place, and the largest never", () => {
    const records = new HotRecords(64 * MIB);
    const admits = (storedBytes: number, offset = 64): boolean => records.admits(0, foundAt(1, 1, offset, storedBytes));
    expect([admits(0), admits(64 * 1024)]).toEqual([true, true]);
    expect([admits(64 * 1024 + 1), admits(64 * 1024 + 1)]).toEqual([false, true]);
    expect([admits(256 * 1024, 128), admits(256 * 1024, 128)]).toEqual([false, true]);
    expect([admits(256 * 1024 + 1), admits(256 * 1024 + 1)]).toEqual([false, false]);
  });

  test("admits no larger record of a round of more than there is room for, and each of one that fits in half", () => {
    const roundOf = (count: number): number => {
      const records = new HotRecords(16 * MIB);
      let admitted = 0;
      for (let n = 0; n < 3 * count; n++) {
        if (records.admits(0, foundAt(n % count, 1, 64, 128 * 1024))) admitted++;
      }
      return admitted;
    };
    expect(roundOf(16 * 8)).toBe(0);
    expect(roundOf(7 * 8)).toBe(2 * 7 * 8);
  });

  test.each([0, 1, 1000, 256 * 1024])("a budget of %i bytes has room for nothing", (bytesMax) => {
    const records = new HotRecords(bytesMax);
    expect([records.payloadBytesMax, records.smallBytesMax]).toEqual([0, 0]);
    expect(records.admits(0, foundAt(1))).toBe(false);
    records.add(0, foundAt(1), Buffer.from("x"));
    records.add(0, foundAt(2), Buffer.alloc(0));
    expect([records.get(0, foundAt(1)), records.bytes]).toEqual([undefined, 0]);
  });

  test("what it keeps alive stays within its budget, whatever the sizes, and holds what was read last", () => {
    const budgetBytes = 2 * MIB;
    const records = new HotRecords(budgetBytes);
    const current = new Map<number, Buffer>();
    for (let n = 0; n < 4000; n++) {
      const payload = Buffer.alloc(random.int(0, random.int(0, 9) === 0 ? records.payloadBytesMax : 3000), n);
      records.add(0, foundAt(n), payload);
      current.set(n, payload);
      expect(records.get(0, foundAt(n))?.bytes.equals(payload)).toBe(true);
      // Now and then an older one is used again, which carries it over.
      records.get(0, foundAt(random.int(Math.max(0, n - 300), n)));
      expect(records.bytes).toBeLessThanOrEqual(budgetBytes);
    }
    const memories = new Set<ArrayBufferLike>();
    for (const [n, payload] of current) {
      const held = records.get(0, foundAt(n))?.bytes;
      if (held === undefined) continue;
      expect(held.equals(payload)).toBe(true);
      memories.add(held.buffer);
    }
    const keptBytes = [...memories].reduce((sum, memory) => sum + memory.byteLength, 0);
    expect(keptBytes).toBeGreaterThan(budgetBytes / 4);
    expect(keptBytes).toBeLessThanOrEqual(budgetBytes);
  });
});
