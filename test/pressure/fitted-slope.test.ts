import { expect, test } from "vitest";
import { fittedSlope } from "./fitted-slope.ts";

test("a slope is that of the nearest straight line", () => {
  expect(
    fittedSlope([
      [0, 5],
      [1, 7],
      [2, 9],
    ]),
  ).toBeCloseTo(2);
  expect(
    fittedSlope([
      [0, 1],
      [1, -1],
      [2, 1],
      [3, -1],
    ]),
  ).toBeCloseTo(-0.4);
  expect(fittedSlope([[3, 4]])).toBe(0);
  expect(fittedSlope([])).toBe(0);
});
