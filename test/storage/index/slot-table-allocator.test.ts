import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SlotTableAllocator } from "../../../src/storage/index/slot-table-allocator.ts";

const SLOT_COUNT = 4096;

interface Table {
  readonly base: number;
  readonly slotCount: number;
}

/** Takes a table and fills it, so that the next one in its place shows whether it was emptied. */
function allocate(allocator: SlotTableAllocator, slots: Int32Array, slotCount: number): Table {
  const base = allocator.allocate(slotCount);
  expect(base % slotCount).toBe(0);
  expect(base + slotCount).toBeLessThanOrEqual(slots.length);
  expect(slots.subarray(base, base + slotCount).every((slot) => slot === 0)).toBe(true);
  slots.fill(7, base, base + slotCount);
  return { base, slotCount };
}

/** @returns undefined where the buffer is used up. */
function tryAllocate(allocator: SlotTableAllocator, slots: Int32Array, slotCount: number): Table | undefined {
  try {
    return allocate(allocator, slots, slotCount);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function expectApart(tables: readonly Table[]): void {
  const sorted = tables.toSorted((a, b) => a.base - b.base);
  for (const [i, { base }] of sorted.entries()) {
    const before = sorted[i - 1];
    expect(base).toBeGreaterThanOrEqual(before === undefined ? 0 : before.base + before.slotCount);
  }
}

describe("SlotTableAllocator", () => {
  test("never gives out overlapping, misaligned or used tables (fast-check prints its seed)", () => {
    const take = fc.record({ kind: fc.constant("take" as const), exponent: fc.integer({ min: 0, max: 9 }) });
    const give = fc.record({ kind: fc.constant("give" as const), which: fc.nat() });
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 3, arbitrary: take }, { weight: 2, arbitrary: give }), { maxLength: 120 }),
        (steps) => {
          const slots = new Int32Array(SLOT_COUNT);
          const allocator = new SlotTableAllocator(slots);
          const tables: Table[] = [];
          const refusals: boolean[] = [];
          for (const step of steps) {
            if (step.kind === "take") {
              const slotCount = 2 ** step.exponent;
              const table = tryAllocate(allocator, slots, slotCount);
              if (table !== undefined) tables.push(table);
              else refusals.push(freeRoom(tables, slotCount));
            } else {
              const [table] = tables.splice(step.which % Math.max(1, tables.length), 1);
              if (table !== undefined) allocator.free(table.base, table.slotCount);
            }
            expectApart(tables);
          }
          expect(refusals, "refused although there was aligned, free room").not.toContain(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("freed neighbours become one table again, in whatever order they are freed", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([...Array(64).keys()], { minLength: 64 }), (order) => {
        const slots = new Int32Array(64 * 64);
        const allocator = new SlotTableAllocator(slots);
        const tables = order.map(() => allocate(allocator, slots, 64));
        for (const i of order) allocator.free(tables[i]?.base ?? -1, 64);
        expect(allocate(allocator, slots, 64 * 64).base).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test("the room that alignment skips is used for smaller tables", () => {
    const slots = new Int32Array(256);
    const allocator = new SlotTableAllocator(slots);
    const tables = [16, 128, 16, 32, 64].map((slotCount) => allocate(allocator, slots, slotCount));
    expectApart(tables);
    expect(tables.map(({ base }) => base)).toEqual([0, 128, 16, 32, 64]);
  });

  test("a buffer that is used up is refused, and usable again once a table is freed", () => {
    const slots = new Int32Array(128);
    const allocator = new SlotTableAllocator(slots);
    const { base } = allocate(allocator, slots, 64);
    allocate(allocator, slots, 64);
    expect(() => allocator.allocate(64)).toThrow(RangeError);
    allocator.free(base, 64);
    expect(allocate(allocator, slots, 64).base).toBe(base);
  });
});

function freeRoom(tables: readonly Table[], slotCount: number): boolean {
  for (let base = 0; base + slotCount <= SLOT_COUNT; base += slotCount) {
    if (tables.every((table) => table.base >= base + slotCount || table.base + table.slotCount <= base)) return true;
  }
  return false;
}
