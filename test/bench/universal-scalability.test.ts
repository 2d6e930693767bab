import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bestWorkers, fitScalabilityLaw, rateOf, type ScalabilityLaw } from "../../bench/universal-scalability.ts";

const WORKERS = [1, 2, 4, 8, 16, 32];

function pointsOf(law: ScalabilityLaw, workers: readonly number[] = WORKERS) {
  return workers.map((count) => ({ workers: count, ratePerSecond: rateOf(law, count) }));
}

describe("the universal scalability law", () => {
  it("is found again in points that it has made", () => {
    const laws = fc.record({
      ratePerSecond: fc.double({ min: 1, max: 1e6, noNaN: true }),
      contention: fc.double({ min: 0, max: 0.9, noNaN: true }),
      coherency: fc.double({ min: 0, max: 0.1, noNaN: true }),
    });
    fc.assert(
      fc.property(laws, (law) => {
        const fitted = fitScalabilityLaw(pointsOf(law));
        expect(fitted.ratePerSecond / law.ratePerSecond).toBeCloseTo(1, 5);
        expect(fitted.contention).toBeCloseTo(law.contention, 5);
        expect(fitted.coherency).toBeCloseTo(law.coherency, 5);
      }),
    );
  });

  it("is nearly found in points that are off by some percent", () => {
    const law = { ratePerSecond: 1000, contention: 0.1, coherency: 0.01 };
    const errors = [0.98, 1.02, 0.99, 1.01, 1.02, 0.98];
    const points = pointsOf(law).map((point, i) => ({
      ...point,
      ratePerSecond: point.ratePerSecond * (errors[i] ?? 1),
    }));
    const fitted = fitScalabilityLaw(points);
    for (const workers of WORKERS) expect(rateOf(fitted, workers) / rateOf(law, workers)).toBeCloseTo(1, 1);
    expect(fitted.contention).toBeCloseTo(law.contention, 1);
    expect(fitted.coherency).toBeCloseTo(law.coherency, 2);
  });

  it("has neither contention nor coherency below 0, where more workers do more than their part", () => {
    const points = WORKERS.map((workers) => ({ workers, ratePerSecond: workers ** 1.2 }));
    expect(fitScalabilityLaw(points)).toMatchObject({ contention: 0, coherency: 0 });
  });

  it("takes two points for contention, as three are needed for both", () => {
    const law = { ratePerSecond: 100, contention: 0.5, coherency: 0 };
    const fitted = fitScalabilityLaw(pointsOf(law, [1, 2]));
    expect(rateOf(fitted, 1)).toBeCloseTo(100);
    expect(rateOf(fitted, 2)).toBeCloseTo(rateOf(law, 2));
  });

  it("has its peak where one more worker costs as much as it does", () => {
    const law = { ratePerSecond: 1, contention: 0.19, coherency: 0.01 };
    expect(bestWorkers(law)).toBeCloseTo(9);
    expect(rateOf(law, 9)).toBeGreaterThan(rateOf(law, 8));
    expect(rateOf(law, 9)).toBeGreaterThan(rateOf(law, 10));
    expect(bestWorkers({ ...law, coherency: 0 })).toBe(Number.POSITIVE_INFINITY);
    expect(bestWorkers({ ...law, contention: 1.2 })).toBe(1);
  });

  it("is not made up where there is nothing to fit", () => {
    expect(() => fitScalabilityLaw([])).toThrow("0 points");
  });
});
