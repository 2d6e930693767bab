/**
 * Counters of one shard in shared memory: written by its worker, read by metrics from the main thread. Doubles, not
 * atomics: a scrape that sees one counter a round older than another does no harm.
 */
export const SHARD_STATS = [
  "appendedRecords",
  "appendedBytes",
  "syncs",
  "syncSecondsTotal",
  "groups",
  "groupedPuts",
  "presentPuts",
  "rejectedPuts",
  "adoptedFiles",
  "syncFailures",
  "writeFailures",
  "segments",
  "segmentBytes",
  "oldestSegmentId",
  "oldestSegmentCreatedAtMs",
  "retiredSegments",
  "retiredRecords",
  "copiedRecords",
  "copiedBytes",
  "favouredRecords",
  "trimmedRecords",
  "trimmedBytes",
  "leasesBroken",
  "recoveredRecords",
  "corruptStretches",
  "quarantinedRecords",
  "scrubbedBytes",
  "scrubRounds",
  "scrubSegmentId",
  "checkpoints",
  "checkpointBytes",
  "checkpointsSkipped",
  "readOnly",
] as const;

/** Histograms of one shard, with the upper bounds of their buckets. */
export const SHARD_HISTOGRAMS = {
  /** From a disk with a write cache to one that is overrun. */
  syncDurationSeconds: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
  /** Uploads of one group commit, which is also how many had queued up. */
  groupPuts: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
} as const;

export type ShardStatName = (typeof SHARD_STATS)[number];
export type ShardStatsSnapshot = Record<ShardStatName, number>;
export type ShardHistogramName = keyof typeof SHARD_HISTOGRAMS;

/** How a quantity was distributed since the start. */
export interface HistogramSnapshot {
  readonly bounds: readonly number[];
  /** Values up to each bound and above the one before; the last: above all. */
  readonly counts: readonly number[];
  readonly sum: number;
}

/**
 *   doubles   0 …           HISTOGRAM_SLOTS[name] …
 *             SHARD_STATS   a count for each bound, one for what is above all of them, the sum
 */
const HISTOGRAM_SLOTS = {
  syncDurationSeconds: SHARD_STATS.length,
  groupPuts: SHARD_STATS.length + SHARD_HISTOGRAMS.syncDurationSeconds.length + 2,
} as const satisfies Record<ShardHistogramName, number>;
const SLOT_COUNT = HISTOGRAM_SLOTS.groupPuts + SHARD_HISTOGRAMS.groupPuts.length + 2;

export class ShardStats {
  readonly buffer: SharedArrayBuffer;
  private readonly values: Float64Array;

  constructor(buffer = new SharedArrayBuffer(SLOT_COUNT * 8)) {
    this.buffer = buffer;
    this.values = new Float64Array(buffer);
  }

  /** A sync that has succeeded. */
  countSync(durationSeconds: number): void {
    this.add("syncs");
    this.add("syncSecondsTotal", durationSeconds);
    this.observe("syncDurationSeconds", durationSeconds);
  }

  observe(name: ShardHistogramName, value: number): void {
    const bounds = SHARD_HISTOGRAMS[name];
    const first = HISTOGRAM_SLOTS[name];
    let bucket = 0;
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++;
    this.values[first + bucket]! += 1;
    this.values[first + bounds.length + 1]! += value;
  }

  histogram(name: ShardHistogramName): HistogramSnapshot {
    const bounds = SHARD_HISTOGRAMS[name];
    const first = HISTOGRAM_SLOTS[name];
    const counts = [...this.values.subarray(first, first + bounds.length + 1)];
    return { bounds, counts, sum: this.values[first + bounds.length + 1]! };
  }

  add(name: ShardStatName, amount = 1): void {
    this.set(name, this.get(name) + amount);
  }

  set(name: ShardStatName, value: number): void {
    this.values[SHARD_STATS.indexOf(name)] = value;
  }

  get(name: ShardStatName): number {
    return this.values[SHARD_STATS.indexOf(name)] ?? 0;
  }

  snapshot(): ShardStatsSnapshot {
    return Object.fromEntries(SHARD_STATS.map((name) => [name, this.get(name)])) as ShardStatsSnapshot;
  }
}
