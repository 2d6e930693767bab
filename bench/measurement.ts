/** What one run of one scenario gave. */
export interface Measurement {
  readonly operations: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly operationsPerSecond: number;
  /** 10^6 bytes. */
  readonly megabytesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
}

export function summarize(run: {
  operations: number;
  bytes: number;
  seconds: number;
  latenciesMs: readonly number[];
}): Measurement {
  const sorted = Float64Array.from(run.latenciesMs).sort();
  const quantile = (q: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
  return {
    operations: run.operations,
    bytes: run.bytes,
    seconds: run.seconds,
    operationsPerSecond: run.operations / run.seconds,
    megabytesPerSecond: run.bytes / 1e6 / run.seconds,
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    p999Ms: quantile(0.999),
  };
}

/** The one in the middle by rate: runs on a shared machine have outliers. */
export function medianRun<Run extends { operationsPerSecond: number }>(runs: readonly Run[]): Run {
  const sorted = runs.toSorted((a, b) => a.operationsPerSecond - b.operationsPerSecond);
  const middle = sorted[Math.floor((sorted.length - 1) / 2)];
  if (middle === undefined) throw new RangeError("no runs");
  return middle;
}
