/**
 * `npm run test:fuzz -- frames|hpack|zstd|names|actions [--minutes N] [--seed S] [--runs N]`: one run after another, each from the seed of
 * the one before plus one, until the time is over. A failure prints the seed that replays it with `--runs 1`.
 */
import { randomInt } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { ActionResultTarget } from "./action-result-target.ts";
import { FrameTarget } from "./frame-target.ts";
import type { FuzzTarget } from "./fuzz-target.ts";
import { HpackTarget } from "./hpack-target.ts";
import { NameTarget } from "./name-target.ts";
import { ZstdTarget } from "./zstd-target.ts";

const TARGETS: Readonly<Record<string, () => FuzzTarget>> = {
  frames: () => new FrameTarget(),
  hpack: () => new HpackTarget(),
  zstd: () => new ZstdTarget(),
  names: () => new NameTarget(),
  actions: () => new ActionResultTarget(),
};
/** What lives after so many runs is the code and its caches; more may not come to stay. */
const WARM_RUNS = 500;
const HEAP_GROWTH_BYTES_MAX = 16 * 1024 * 1024;
const FAILURES_MAX = 10;
const HANG_MS = 30_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: `${randomInt(2 ** 40)}` },
    runs: { type: "string" },
  },
});

const [name = "", ...surplus] = positionals;
const makeTarget = TARGETS[name];
if (makeTarget === undefined || surplus.length > 0) {
  throw new RangeError(`expected one of ${Object.keys(TARGETS).join(", ")}, got ${positionals.join(" ")}`);
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

/** Ends the process where a run does not: the thread that hangs cannot do it itself. The run's number is shared. */
function watch(firstSeed: number): Int32Array {
  const runNumber = new Int32Array(new SharedArrayBuffer(4));
  const program = `
    const { workerData } = require("node:worker_threads");
    const { runNumber, name, firstSeed, hangMs } = workerData;
    for (let seen = -1; ;) {
      if (runNumber[0] === seen) {
        console.log(\`  BAD a run hangs: npm run test:fuzz -- \${name} --seed \${firstSeed + seen} --runs 1\`);
        console.log("0 passed, 1 failed");
        process.kill(process.pid, "SIGKILL");
      }
      seen = runNumber[0];
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, hangMs);
    }`;
  new Worker(program, { eval: true, workerData: { runNumber, name, firstSeed, hangMs: HANG_MS } }).unref();
  return runNumber;
}

/** What is left once collections find no more: one leaves what is freed beside it, and what the last run has still under way. */
async function liveHeapBytes(): Promise<number> {
  for (let bytes = Number.POSITIVE_INFINITY; ;) {
    await nextTurn();
    globalThis.gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    if (heapUsed + arrayBuffers >= bytes) return bytes;
    bytes = heapUsed + arrayBuffers;
  }
}

const firstSeed = Number(values.seed);
const endMs = performance.now() + Number(values.minutes) * 60_000;
const runsMax = values.runs === undefined ? Number.POSITIVE_INFINITY : Number(values.runs);
const target = makeTarget();
const runNumber = watch(firstSeed);
let [run, failed, warmBytes] = [0, 0, 0];

console.log(`${name}: seed ${firstSeed}, ${values.minutes} minutes`);
for (; run < runsMax && performance.now() < endMs && failed < FAILURES_MAX; run++) {
  Atomics.store(runNumber, 0, run);
  try {
    await target.run(firstSeed + run);
  } catch (error) {
    failed++;
    console.log(`  BAD npm run test:fuzz -- ${name} --seed ${firstSeed + run} --runs 1`);
    console.log(error instanceof Error ? error.stack : error);
  }
  if (run === WARM_RUNS) warmBytes = await liveHeapBytes();
}
const grownBytes = warmBytes > 0 ? (await liveHeapBytes()) - warmBytes : 0;
if (grownBytes > HEAP_GROWTH_BYTES_MAX) {
  failed++;
  console.log(`  BAD the heap has grown by ${grownBytes} bytes since run ${WARM_RUNS}`);
}
for (const [figure, value] of Object.entries(target.figures)) console.log(`${figure.padEnd(20)}${value}`);
console.log(`${"heap growth, KiB".padEnd(20)}${warmBytes > 0 ? Math.round(grownBytes / 1024) : "not measured"}`);
console.log(`${run - Math.min(run, failed)} passed, ${failed} failed`);
process.exit(failed > 0 || run === 0 ? 1 : 0);
