/**
 * `npm run test:pressure -- [--minutes M] [--connections N] [--memory SIZE] [--seed S]`: a server in a memory cgroup, by
 * which it finds its bounds itself, under a mixed load of many connections. Nothing may fail but what is shed and says when
 * to come again. It prints what it sees now and then, and the slope of the resident memory.
 */
import { randomInt } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { parseByteSize } from "../../bench/byte-size.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { fittedSlope } from "./fitted-slope.ts";
import { MemoryCgroup } from "./memory-cgroup.ts";
import { MixedLoad } from "./mixed-load.ts";

const MIB = 1024 * 1024;
const SAMPLE_INTERVAL_MS = 1000;
const ROWS = 20;
const MINUTES_MAX = 120;
/** Segments that stay open for readers. */
const OPEN_SEGMENTS_MAX = 256;
/** What shards append to, retire, scrub and save. */
const FILES_OF_SHARDS_MAX = 16;
/** As README.md says for little memory. */
const ENVIRONMENT = { MALLOC_MMAP_THRESHOLD_: "65536", MALLOC_TRIM_THRESHOLD_: "131072" };
/** What a server makes of 256 MiB, where no cgroup tells it of them. */
const WITHOUT_CGROUP = ["--shards=1", "--memory-budget=32MiB"];

interface Sample {
  readonly atSeconds: number;
  readonly rssMib: number;
  readonly descriptors: number;
}

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    connections: { type: "string", default: "1000" },
    memory: { type: "string", default: "256MiB" },
    seed: { type: "string", default: `${randomInt(2 ** 40)}` },
  },
});
const minutes = Math.min(Number(values.minutes), MINUTES_MAX);
const memoryBytes = parseByteSize(values.memory);

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const problems = await run();
for (const problem of problems) console.log(`  BAD ${problem}`);
console.log(problems.length === 0 ? "1 passed, 0 failed" : "0 passed, 1 failed");
process.exitCode = problems.length === 0 ? 0 : 1;

async function run(): Promise<string[]> {
  await using directory = await makeTemporaryDirectory("pressure");
  using cgroup = MemoryCgroup.tryMake(memoryBytes);
  if (cgroup === undefined)
    console.log("NO MEMORY CGROUP CAN BE MADE HERE: only what is resident is held against the bound");
  // Modules are compiled by the first start, which takes more memory than those that follow.
  await warmUp(directory.path);
  await using server = await ServerProcess.start({
    directory: directory.path,
    maxSize: "2GiB",
    environment: ENVIRONMENT,
    ...(cgroup === undefined ? { extraArguments: WITHOUT_CGROUP } : { wrapper: cgroup.wrapper }),
  });
  console.log(`${values.connections} connections, ${minutes} min, ${values.memory}, --seed ${values.seed}`);
  console.log("       s  RSS MiB  descriptors     done     shed  entries");
  const before = sampleOf(server.pid, 0);
  printRow(before, 0, 0, 0);
  using load = new MixedLoad(server.endpoint, Number(values.connections), seededRandom(values.seed));
  const working = load.run();
  const samples = await watched(server, load);
  load.stop();
  await Promise.race([working, sleep(30_000, undefined, { ref: false })]);
  load[Symbol.dispose]();
  const isRunning = server.running;
  const found = [...load.problems];
  if (isRunning) await server.stop();
  else found.push(`the server has ended: ${server.output}`);
  found.push(...judged(before, samples, cgroup !== undefined));
  printCounts(load);
  if (cgroup !== undefined)
    console.log(`cgroup, page cache included: at most ${(cgroup.peakBytes / MIB).toFixed(0)} MiB`);
  return found;
}

async function warmUp(directory: string): Promise<void> {
  await using server = await ServerProcess.start({ directory, maxSize: "2GiB", shards: 1 });
  await server.stop();
}

async function watched(server: ServerProcess, load: MixedLoad): Promise<Sample[]> {
  const samples: Sample[] = [];
  const startedMs = performance.now();
  const rowSeconds = (minutes * 60) / ROWS;
  for (let atSeconds = 0, rows = 0; atSeconds < minutes * 60 && server.running;) {
    await sleep(SAMPLE_INTERVAL_MS);
    atSeconds = (performance.now() - startedMs) / 1000;
    const sample = sampleOf(server.pid, atSeconds);
    samples.push(sample);
    if (atSeconds < (rows + 1) * rowSeconds) continue;
    rows = Math.floor(atSeconds / rowSeconds);
    printRow(sample, totalOf(load.doneCounts), totalOf(load.shedCounts), await entriesOf(server.endpoint));
  }
  return samples;
}

/**
 * A cgroup ends who takes more than it allows. What is resident may be more: pages of the program's file that other processes
 * have, too, are on another account.
 * @returns what is wrong.
 */
function judged(before: Sample, samples: readonly Sample[], hasCgroup: boolean): string[] {
  const found: string[] = [];
  const settled = samples.slice(Math.floor(samples.length / 2));
  const rssPeakMib = Math.max(...samples.map(({ rssMib }) => rssMib));
  const descriptorsMax = Math.max(...settled.map(({ descriptors }) => descriptors));
  const slopeOf = (figure: "rssMib" | "descriptors"): string =>
    (fittedSlope(settled.map((sample) => [sample.atSeconds, sample[figure]])) * 3600).toFixed(1);
  console.log(`RSS at most ${rssPeakMib.toFixed(1)} MiB; in the second half ${slopeOf("rssMib")} MiB an hour`);
  console.log(`descriptors in the second half: at most ${descriptorsMax}, ${slopeOf("descriptors")} an hour`);
  if (!hasCgroup && rssPeakMib * MIB > memoryBytes)
    found.push(`RSS: expected at most ${values.memory}, got ${rssPeakMib} MiB`);
  const filesAllowed = OPEN_SEGMENTS_MAX + FILES_OF_SHARDS_MAX;
  const descriptorsAllowed = before.descriptors + Number(values.connections) + filesAllowed;
  if (descriptorsMax > descriptorsAllowed) {
    found.push(`descriptors: expected at most ${descriptorsAllowed}, got ${descriptorsMax}`);
  }
  return found;
}

function sampleOf(pid: number, atSeconds: number): Sample {
  try {
    const rssKib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return { atSeconds, rssMib: Number(rssKib ?? 0) / 1024, descriptors: lastingDescriptors(pid) };
  } catch {
    // It has ended, which is reported.
    return { atSeconds, rssMib: 0, descriptors: 0 };
  }
}

/** Those of uploads in progress come and go with them, and those of retired segments with whoever still reads them. */
function lastingDescriptors(pid: number): number {
  const isOfCall = (fd: string): boolean => {
    try {
      const link = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return link.includes("/staging/") || link.endsWith(" (deleted)");
    } catch {
      // Closed meanwhile.
      return true;
    }
  };
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => !isOfCall(fd)).length;
}

/** @returns how many the index has; NaN where the server does not say. */
async function entriesOf(endpoint: string): Promise<number> {
  const metrics = await fetch(`http://${endpoint}/metrics`).then((answer) => answer.text(), String);
  return Number(/^kura_engine_entries (\d+)$/m.exec(metrics)?.[1]);
}

function printRow({ atSeconds, rssMib, descriptors }: Sample, ...counts: number[]): void {
  const cells = [atSeconds.toFixed(0).padStart(8), rssMib.toFixed(1).padStart(9), `${descriptors}`.padStart(13)];
  console.log(cells.join("") + counts.map((count) => `${count}`.padStart(9)).join(""));
}

function printCounts({ doneCounts, shedCounts }: MixedLoad): void {
  for (const [kind, count] of doneCounts)
    console.log(`${kind.padEnd(14)}${count} done, ${shedCounts.get(kind) ?? 0} shed`);
}

function totalOf(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}
