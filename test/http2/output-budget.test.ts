import { describe, expect, test } from "vitest";
import { OutputBudget } from "../../src/http2/output-budget.ts";
import { seededRandom } from "../support/seeded-random.ts";

const KIB = 1024;
const BYTES_MAX = 8192 * KIB;

/** Connections that take nothing hold as much as they may, whenever it is their turn. @returns what each holds. */
function fill(budget: OutputBudget, connectionCount: number): number[] {
  const random = seededRandom(`fill/${connectionCount}`);
  const held = Array.from({ length: connectionCount }, () => 0);
  for (let turn = 0; turn < 20 * connectionCount; turn++) {
    const index = random.int(0, connectionCount - 1);
    const bytes = Math.max(0, budget.shareBytes - held[index]!);
    budget.change(bytes);
    held[index]! += bytes;
  }
  return held;
}

describe("OutputBudget", () => {
  test.each([1, 8, 100, 500])(
    "%i connections that take nothing hold no more than there is and the least of each",
    (count) => {
      const budget = new OutputBudget(BYTES_MAX);
      const held = fill(budget, count);
      expect(budget.heldBytes).toBe(held.reduce((sum, bytes) => sum + bytes));
      expect(budget.heldBytes).toBeLessThanOrEqual(BYTES_MAX + count * 16 * KIB);
      expect(Math.min(...held)).toBeGreaterThanOrEqual(16 * KIB);
    },
  );

  test("one that comes when thousands hold what they may gets the least, and what there is once they are gone", () => {
    const budget = new OutputBudget(BYTES_MAX);
    const held = fill(budget, 2000);
    expect(Math.max(...held)).toBeLessThanOrEqual(BYTES_MAX / 8);
    expect(budget.shareBytes).toBe(16 * KIB);
    for (const bytes of held) budget.change(-bytes);
    expect(budget.heldBytes).toBe(0);
    expect(budget.shareBytes).toBe(BYTES_MAX / 8);
  });
});
