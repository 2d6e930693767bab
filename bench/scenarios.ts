import { join } from "node:path";
import { ServerProcess, type ServerProcessOptions } from "../test/support/server-process.ts";
import { BUILD_MIX, type SizeClass } from "./blob-plan.ts";
import { measureDiskLimit } from "./disk-limit.ts";
import { LoadGenerator, type LoadMeasurement } from "./load-generator.ts";
import type { Measurement } from "./measurement.ts";
import { ProcessMeter } from "./process-meter.ts";

export interface BenchOptions {
  /** On the file system that is measured. */
  readonly directory: string;
  readonly durability: "commit" | "relaxed";
  /** Uploads or reads in flight. */
  readonly writers: number;
  readonly connections: number;
  readonly clientThreads: number;
  /** Of one blob in the scenarios of equal blobs. */
  readonly blobBytes: number;
  /** Of one run of uploads or reads. */
  readonly runBytes: number;
  /** Of the upload mix. */
  readonly mixBytes: number;
  readonly runs: number;
}

export interface BenchRow extends Measurement {
  readonly scenario: string;
  readonly durability: string;
  readonly clientCpuSeconds?: number;
  readonly serverCpuSeconds?: number;
  readonly serverRssPeakMib?: number;
  /** Before the first request of the scenario. */
  readonly serverRssIdleMib?: number;
}

type Report = (row: BenchRow) => void;

const DISK_LIMIT_THREADS = [1, 2];

/** Uploads of equal blobs next to what the disk can do, in turns, each followed by reading the blobs back. */
export async function uploadsAndReads(options: BenchOptions, report: Report): Promise<void> {
  await using server = await startServer(options, "uploads");
  const classes = [{ sizeBytes: options.blobBytes, weight: 1 }];
  const blob = `${options.blobBytes / 1024} KiB x${options.writers}`;
  for (let run = 0; run < options.runs; run++) {
    for (const threads of DISK_LIMIT_THREADS) {
      report(await diskLimitRow(options, threads));
    }
    await using load = await startLoad(options, server, classes, options.runBytes);
    report(await measured(`upload ${blob}`, options, server, () => load.run("upload")));
    report(await measured(`read ${blob}`, options, server, () => load.run("readBack")));
  }
  await server.stop();
}

/** A build's mix of sizes on a fresh server: the question is memory. */
export async function uploadMix(options: BenchOptions, report: Report): Promise<void> {
  await using server = await startServer(options, "mix");
  await using load = await startLoad(options, server, BUILD_MIX, options.mixBytes);
  const name = `mix ${Math.round(options.mixBytes / 2 ** 20)} MiB x${options.writers}`;
  report(await measured(`upload ${name}`, options, server, () => load.run("upload")));
  report(await measured(`read ${name}`, options, server, () => load.run("readBack")));
  await server.stop();
}

async function diskLimitRow(options: BenchOptions, threads: number): Promise<BenchRow> {
  const measurement = await measureDiskLimit({
    directory: options.directory,
    threads,
    recordBytes: options.blobBytes,
    records: Math.ceil(options.runBytes / options.blobBytes),
    recordsInFlight: options.writers,
  });
  const group = Math.max(1, Math.floor(options.writers / threads));
  return { scenario: `disk limit, ${threads} x ${group} records`, durability: "fdatasync", ...measurement };
}

async function startServer(options: BenchOptions, name: string): Promise<ServerProcess> {
  const server: ServerProcessOptions = {
    directory: join(options.directory, name),
    durability: options.durability,
    // Room for all runs: nothing is to be retired while uploads are measured.
    maxSize: `${Math.ceil((2 * (options.runBytes * options.runs + options.mixBytes)) / 2 ** 30) + 2}GiB`,
  };
  return await ServerProcess.start(server);
}

async function startLoad(
  options: BenchOptions,
  server: ServerProcess,
  classes: readonly SizeClass[],
  bytes: number,
): Promise<LoadGenerator> {
  const { writers, connections, clientThreads } = options;
  const task = { endpoint: server.endpoint, classes, bytes, concurrency: writers, connections };
  return await LoadGenerator.start(task, clientThreads);
}

async function measured(
  scenario: string,
  options: BenchOptions,
  server: ServerProcess,
  run: () => Promise<LoadMeasurement>,
): Promise<BenchRow> {
  using meter = new ProcessMeter(server.pid);
  const serverRssIdleMib = meter.rssPeakMib;
  const measurement = await run();
  const { cpuSeconds: serverCpuSeconds, rssPeakMib: serverRssPeakMib } = meter;
  return {
    scenario,
    durability: options.durability,
    ...measurement,
    serverCpuSeconds,
    serverRssPeakMib,
    serverRssIdleMib,
  };
}
