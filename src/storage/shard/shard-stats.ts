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

export type ShardStatName = (typeof SHARD_STATS)[number];
export type ShardStatsSnapshot = Record<ShardStatName, number>;

export class ShardStats {
  readonly buffer: SharedArrayBuffer;
  private readonly values: Float64Array;

  constructor(buffer = new SharedArrayBuffer(SHARD_STATS.length * 8)) {
    this.buffer = buffer;
    this.values = new Float64Array(buffer);
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
