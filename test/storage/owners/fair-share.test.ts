import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { favouredOwners } from "../../../src/storage/owners/fair-share.ts";

const owned = (...bytes: number[]) => bytes.map((count, i) => ({ owner: i + 1, bytes: count }));

describe("who is favoured", () => {
  test.each([
    ["of two, the one that has little", owned(10, 80), [1]],
    ["of two with much, neither", owned(45, 45), []],
    ["of two with little, both: what nobody has makes room", owned(20, 20), [1, 2]],
    ["who has just its share", owned(37.5, 60), [1]],
    ["of three, those within a quarter of the store", owned(25, 48, 3), [1, 3]],
    ["everybody, where all together keep within three quarters", owned(5, 70), [1, 2]],
    ["nobody, where there is only one", owned(10), []],
    ["nobody, where there is no one", [], []],
  ])("%s", (_, owners, expected) => {
    expect(favouredOwners(owners, 100)).toEqual(expected);
  });

  test("all of them together have three quarters of the store at the most", () => {
    const bytes = fc.array(fc.nat({ max: 10_000 }), { maxLength: 20 });
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 10_000 }), (counts, budgetBytes) => {
        const favoured = new Set(favouredOwners(owned(...counts), budgetBytes));
        const total = owned(...counts).reduce(
          (sum, { owner, bytes: count }) => sum + (favoured.has(owner) ? count : 0),
          0,
        );
        expect(total).toBeLessThanOrEqual(budgetBytes * 0.75 + 1e-6);
      }),
    );
  });
});
