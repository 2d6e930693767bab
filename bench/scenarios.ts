import { BUILD_MIX } from "./blob-plan.ts";
import { DelayingProxy } from "./delaying-proxy.ts";
import type { BenchOptions, Report } from "./bench-options.ts";
import { reportDiskLimit } from "./disk-limit-rows.ts";
import { httpBlobs, httpSlow } from "./http-scenarios.ts";
import { type HttpRequest, measureHttp } from "./http-workload.ts";
import { type LoadPhase, measurementOf } from "./load-generator.ts";
import type { ReplayTask } from "./replay/replay-task.ts";
import type { ScenarioName } from "./scenario-names.ts";
import { ServerBench } from "./server-bench.ts";
import { runWorker } from "./worker-result.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const DISTANCE_MS = 20;
/** Up to 1100 calls are in flight, and Bazel puts at most 100 on a connection. */
const REPLAY_CONNECTIONS = 16;
// What is done before a measurement of what one call costs: a cache runs for weeks, and its code is compiled then. V8
// goes on compiling for some 10,000 uploads.
const WARM_UP_BYTES = 1024 * MIB;
const WARM_UP_PASSES = 32;

/** One run of a scenario, each on a fresh server. */
export type Scenario = (options: BenchOptions, report: Report) => Promise<void>;

/** A recorded build that finds nothing and uploads all that it makes, and the next one, which finds everything. */
async function replay(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  const build = { endpoint: bench.endpoint, connections: REPLAY_CONNECTIONS, recording: "bazel-tree.txt" };
  for (const phase of ["cold", "warm"]) {
    const task: ReplayTask = { ...build, phase, seed: "kura" };
    const run = async () => measurementOf([await runWorker<LoadPhase>("replay-worker.ts", task)]);
    await bench.measureRun(`${phase} build of 81 actions`, run);
  }
  await bench.stop();
}

/** Uploads of equal blobs next to what the disk can do, followed by reading the blobs back. */
async function uploadsAndReads(options: BenchOptions, report: Report): Promise<void> {
  await reportDiskLimit(options, report);
  await using bench = await ServerBench.start(options, report);
  const blob = `${options.blobBytes / KIB} KiB x${options.writers}`;
  const classes = [{ sizeBytes: options.blobBytes, weight: 1 }];
  await using warmUp = await bench.load(classes, WARM_UP_BYTES);
  await warmUp.run("upload");
  await using load = await bench.load(classes, options.runBytes);
  await bench.measure(`upload ${blob}`, load, "upload");
  await bench.measure(`read ${blob}`, load, "readBack");
  await bench.stop();
}

/** A build's mix of sizes: the question is memory. */
async function uploadMix(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  await using load = await bench.load(BUILD_MIX, options.mixBytes);
  const name = `mix ${Math.round(options.mixBytes / MIB)} MiB x${options.writers}`;
  await bench.measure(`upload ${name}`, load, "upload");
  await bench.measure(`read ${name}`, load, "readBack");
  await bench.stop();
}

/** The action cache: results with one output file each. */
async function actions(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  await using load = await bench.load([{ sizeBytes: KIB, weight: 1 }], 5000 * KIB);
  await load.run("batchUpdate", { batchBlobs: 100 });
  await bench.measure("UpdateActionResult", load, "actionUpdate");
  for (const [name, operation] of [
    ["GetActionResult, hit", "actionHit"],
    ["GetActionResult, miss", "actionMiss"],
  ] as const) {
    await load.run(operation, { passes: WARM_UP_PASSES });
    await bench.measure(name, load, operation, { passes: WARM_UP_PASSES });
  }
  await bench.stop();
}

/** FindMissingBlobs of blobs that are there. */
async function findMissing(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  await using load = await bench.load([{ sizeBytes: 100, weight: 1 }], 10_000 * 100);
  await load.run("batchUpdate", { batchBlobs: 1000 });
  for (const [batchBlobs, passes] of [
    [1, 2],
    [100, 40],
    [10_000, 40],
  ] as const) {
    await load.run("findMissing", { batchBlobs, passes });
    await bench.measure(`FindMissing of ${batchBlobs}`, load, "findMissing", { batchBlobs, passes });
  }
  await bench.stop();
}

/** One call about all that a large build is made of, and what others wait for meanwhile. */
async function findMissingHuge(options: BenchOptions, report: Report): Promise<void> {
  const batchBlobs = 100_000;
  await using bench = await ServerBench.start(options, report);
  await using many = await bench.load([{ sizeBytes: 100, weight: 1 }], batchBlobs * 100, { writers: 1 });
  await using others = await bench.load([{ sizeBytes: KIB, weight: 1 }], 1000 * KIB, { writers: 8 });
  await many.run("batchUpdate", { batchBlobs: 1000 });
  await others.run("upload");
  await bench.measure("Read 1 KiB x8, before", others, "readBack", { passes: 10 });
  const passes = 20;
  await bench.measure("FindMissing of 100,000 x1", many, "findMissing", { batchBlobs, passes });
  const findMissing = (): Promise<unknown> => many.run("findMissing", { batchBlobs, passes });
  await bench.measureRun("Read 1 KiB x8, meanwhile", () => others.runDuring(findMissing, "readBack"));
  await bench.stop();
}

/** Small blobs, many in a call. */
async function batches(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  await using load = await bench.load([{ sizeBytes: KIB, weight: 1 }], 50_000 * KIB);
  const batch = { batchBlobs: 100 };
  await bench.measure("BatchUpdate 100 x 1 KiB", load, "batchUpdate", batch);
  await bench.measure("BatchRead 100 x 1 KiB", load, "batchRead", { ...batch, passes: 2 });
  await bench.stop();
}

/** ByteStream by size of blob, both ways. */
async function sizes(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  for (const [label, sizeBytes, totalBytes, writers, passes, warmUpBytes] of [
    ["1 KiB", KIB, 10 * MIB, options.writers, 4, 10 * MIB],
    ["128 KiB", 128 * KIB, 256 * MIB, options.writers, 8, WARM_UP_BYTES],
    ["4 MiB", 4 * MIB, 256 * MIB, Math.min(8, options.writers), 4, 256 * MIB],
    ["256 MiB", 256 * MIB, 512 * MIB, 2, 1, 512 * MIB],
  ] as const) {
    const classes = [{ sizeBytes, weight: 1 }];
    await using warmUp = await bench.load(classes, warmUpBytes, { writers });
    await bench.run(warmUp, "upload");
    await bench.run(warmUp, "readBack");
    await using load = await bench.load(classes, totalBytes, { writers });
    await bench.measure(`Write ${label} x${writers}`, load, "upload");
    await bench.measure(`Read ${label} x${writers}`, load, "readBack", { passes });
  }
  await bench.stop();
}

/** Calls in flight, over 8 connections at the most. */
async function fanIn(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  for (const [writers, totalBytes] of [
    [1, 32 * MIB],
    [32, 128 * MIB],
    [256, 256 * MIB],
    [1000, 256 * MIB],
  ] as const) {
    const connections = Math.min(writers, options.connections);
    await using load = await bench.load([{ sizeBytes: 128 * KIB, weight: 1 }], totalBytes, { writers, connections });
    await bench.measure(`${writers} writers, 128 KiB`, load, "upload");
  }
  await bench.stop();
}

/** 256 calls in flight over few and many connections. */
async function connections(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  for (const count of [1, 16, 256]) {
    const over = { writers: 256, connections: count };
    await using load = await bench.load([{ sizeBytes: 16 * KIB, weight: 1 }], 64 * MIB, over);
    await bench.measure(`Write 16 KiB, ${count} conn.`, load, "upload");
    await bench.measure(`Read 16 KiB, ${count} conn.`, load, "readBack", { passes: 2 });
  }
  await bench.stop();
}

/** One connection over a line with a round trip of 20 ms. */
async function distance(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  await using proxy = await DelayingProxy.start(bench.endpoint, DISTANCE_MS);
  const far = { endpoint: proxy.endpoint, connections: 1 };
  for (const [label, sizeBytes, writers] of [
    ["128 KiB", 128 * KIB, 32],
    ["128 KiB", 128 * KIB, 100],
    ["16 MiB", 16 * MIB, 1],
    ["16 MiB", 16 * MIB, 4],
  ] as const) {
    const classes = [{ sizeBytes, weight: 1 }];
    await using warmUp = await bench.load(classes, 128 * MIB, { writers });
    await bench.run(warmUp, "upload");
    await bench.run(warmUp, "readBack");
    await using load = await bench.load(classes, 256 * MIB, { ...far, writers });
    await bench.measure(`Write ${label} x${writers}, 20 ms`, load, "upload");
    await bench.measure(`Read ${label} x${writers}, 20 ms`, load, "readBack");
  }
  await bench.stop();
}

/** GET over HTTP/1.1 of what is no blob. */
async function http(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  const load = { endpoint: bench.endpoint, connections: options.writers, requests: 1000 * options.writers };
  for (const path of ["/healthz", "/status"]) {
    const next = (): HttpRequest => ({ method: "GET", path });
    await bench.measureRun(`GET ${path} x${options.writers}`, () => measureHttp({ ...load, next }));
  }
  await bench.stop();
}

export const SCENARIOS = {
  replay,
  uploads: uploadsAndReads,
  mix: uploadMix,
  actions,
  find: findMissing,
  "find-huge": findMissingHuge,
  batches,
  sizes,
  "fan-in": fanIn,
  connections,
  distance,
  http,
  "http-blobs": httpBlobs,
  "http-slow": httpSlow,
} satisfies Record<ScenarioName, Scenario>;
