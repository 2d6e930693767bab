import { expect, test } from "vitest";
import { SHARD_HISTOGRAMS, SHARD_STATS, ShardStats } from "../../../src/storage/shard/shard-stats.ts";

test("each counter and each histogram has a place of its own, which another thread sees", () => {
  const written = new ShardStats();
  const seen = new ShardStats(written.buffer);
  for (const [number, name] of SHARD_STATS.entries()) written.add(name, number + 1);
  written.observe("groupPuts", 3);
  written.observe("syncDurationSeconds", 0.75);
  for (const [number, name] of SHARD_STATS.entries()) expect(seen.get(name)).toBe(number + 1);
  expect(seen.histogram("groupPuts")).toMatchObject({ sum: 3, counts: [0, 0, 1, ...Array<number>(9).fill(0)] });
  const { bounds, counts, sum } = seen.histogram("syncDurationSeconds");
  expect(bounds).toEqual(SHARD_HISTOGRAMS.syncDurationSeconds);
  expect([sum, counts.indexOf(1), counts.length]).toEqual([0.75, bounds.indexOf(1), bounds.length + 1]);
});

test("a value belongs to the first bound that it does not pass, and to the last bucket above all of them", () => {
  const stats = new ShardStats();
  for (const value of [1, 2, 2.5, 1024, 1025, 5000]) stats.observe("groupPuts", value);
  const { counts } = stats.histogram("groupPuts");
  expect(counts).toEqual([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
});

test("a sync is counted, timed and put in its bucket", () => {
  const stats = new ShardStats();
  stats.countSync(0.25);
  stats.countSync(0.5);
  expect([stats.get("syncs"), stats.get("syncSecondsTotal")]).toEqual([2, 0.75]);
  expect(stats.histogram("syncDurationSeconds").sum).toBe(0.75);
});
