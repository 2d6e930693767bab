/**
 * Gunther's universal scalability law: with N workers, N times the rate of one, less what they wait for each other
 * (contention, a part of all work that only one can do) and what they tell each other (coherency, for each pair).
 *
 *     rate(N) = λ N / (1 + σ (N − 1) + κ N (N − 1))
 */
export interface ScalabilityLaw {
  /** λ, of one worker. */
  readonly ratePerSecond: number;
  /** σ, from 0. */
  readonly contention: number;
  /** κ, from 0. */
  readonly coherency: number;
}

export interface ScalabilityPoint {
  readonly workers: number;
  readonly ratePerSecond: number;
}

const PIVOT_MIN = 1e-9;

export function rateOf({ ratePerSecond, contention, coherency }: ScalabilityLaw, workers: number): number {
  const others = workers - 1;
  return (ratePerSecond * workers) / (1 + contention * others + coherency * workers * others);
}

/** Where the law has its peak, at least 1; infinite without coherency. */
export function bestWorkers({ contention, coherency }: ScalabilityLaw): number {
  if (contention >= 1) return 1;
  return coherency === 0 ? Number.POSITIVE_INFINITY : Math.max(1, Math.sqrt((1 - contention) / coherency));
}

/**
 * Least squares of relative errors. N / rate is linear in 1/λ, σ/λ and κ/λ; where σ or κ would be below 0, which means
 * nothing, the best fit without it is taken.
 * @throws where there are too few points of different numbers of workers
 */
export function fitScalabilityLaw(points: readonly ScalabilityPoint[]): ScalabilityLaw {
  const terms = [[0], [0, 1], [0, 2], [0, 1, 2]];
  const fits = terms.flatMap((used) => fitTerms(points, used));
  const best = fits.toSorted((a, b) => a.error - b.error)[0];
  if (best === undefined) throw new RangeError(`${points.length} points give no law`);
  const [a = Number.NaN, b = 0, c = 0] = best.coefficients;
  return { ratePerSecond: 1 / a, contention: b / a, coherency: c / a };
}

interface Fit {
  readonly coefficients: readonly number[];
  readonly error: number;
}

/** @returns nothing where the points do not tell, or where they ask for a coefficient below 0. */
function fitTerms(points: readonly ScalabilityPoint[], used: readonly number[]): Fit[] {
  // Each row times the coefficients is to be 1.
  const rows = points.map(({ workers, ratePerSecond }) => {
    const all = [1, workers - 1, workers * (workers - 1)].map((term) => (term * ratePerSecond) / workers);
    return used.map((term) => all[term] ?? 0);
  });
  const matrix = used.map((_, i) => used.map((__, j) => sum(rows.map((row) => (row[i] ?? 0) * (row[j] ?? 0)))));
  const solution = solve(
    matrix,
    used.map((_, i) => sum(rows.map((row) => row[i] ?? 0))),
  );
  if (solution === undefined || solution.some((value) => value < 0)) return [];
  const error = sum(rows.map((row) => (sum(row.map((value, i) => value * (solution[i] ?? 0))) - 1) ** 2));
  const coefficients = [0, 0, 0];
  used.forEach((term, i) => (coefficients[term] = solution[i] ?? 0));
  return [{ coefficients, error }];
}

/** Gauss-Jordan elimination with pivots. @returns undefined for a singular matrix. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] | undefined {
  const rows = matrix.map((row, i) => [...row, right[i] ?? 0]);
  const scale = Math.max(...matrix.flat().map(Math.abs));
  for (let column = 0; column < rows.length; column++) {
    const candidates = rows.slice(column).toSorted((a, b) => Math.abs(b[column] ?? 0) - Math.abs(a[column] ?? 0));
    rows.splice(column, candidates.length, ...candidates);
    const pivotRow = rows[column] ?? [];
    const pivot = pivotRow[column] ?? 0;
    if (Math.abs(pivot) <= scale * PIVOT_MIN) return undefined;
    for (const row of rows) {
      if (row === pivotRow) continue;
      const factor = (row[column] ?? 0) / pivot;
      row.forEach((value, i) => (row[i] = value - factor * (pivotRow[i] ?? 0)));
    }
  }
  return rows.map((row, i) => (row.at(-1) ?? 0) / (row[i] ?? 1));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
