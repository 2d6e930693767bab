/** `npm run bench -- --scaling`: curves over what can be had more of, and what they say of larger machines. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { describeMachine, formatRate, formatRow } from "./bench-report.ts";
import type { BenchOptions, BenchRow } from "./bench-options.ts";
import { medianRun } from "./measurement.ts";
import { serverOptions } from "./server-options.ts";
import { ServerBench } from "./server-bench.ts";
import { lineChart, type Point } from "./svg-charts.ts";
import { kura, type KuraSettings } from "./systems/kura.ts";
import { bestWorkers, fitScalabilityLaw, rateOf, type ScalabilityLaw } from "./universal-scalability.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const PAGE = fileURLToPath(new URL("./SCALING.md", import.meta.url));
const CHART = fileURLToPath(new URL("./results/scaling.svg", import.meta.url));
const FIGURES = /(<!-- figures: .* -->\n)[^]*(<!-- figures end -->)/;
const LARGER_MACHINES = [8, 16, 32, 64];
/** As the system names them: the one that has the sockets, and those of the shards and of other workers. */
const MAIN_THREAD = "MainThread";
const WORKER_THREAD = "WorkerThread";

interface Curve {
  readonly name: string;
  /** What there is more and more of. */
  readonly unit: string;
  readonly counts: readonly number[];
  readonly run: (options: BenchOptions, count: number, report: (row: BenchRow) => void) => Promise<void>;
}

interface FittedCurve {
  readonly curve: Curve;
  /** Medians, by count. */
  readonly rows: readonly BenchRow[];
  readonly law: ScalabilityLaw;
}

/** Prints rows as they come, and writes the table of SCALING.md and its chart. */
export async function measureScaling(options: BenchOptions, settings: KuraSettings): Promise<void> {
  const fitted: FittedCurve[] = [];
  for (const curve of curves(settings)) {
    const rows: BenchRow[][] = curve.counts.map(() => []);
    for (let run = 0; run < options.runs; run++) {
      for (const [i, count] of curve.counts.entries()) {
        await curve.run(options, count, (row) => {
          rows[i]?.push(row);
          console.log(formatRow(row));
        });
      }
    }
    const medians = rows.map((runs) => medianRun(runs));
    const points = medians.map((row, i) => ({
      workers: curve.counts[i] ?? Number.NaN,
      ratePerSecond: row.operationsPerSecond,
    }));
    fitted.push({ curve, rows: medians, law: fitScalabilityLaw(points) });
  }
  const page = readFileSync(PAGE, "utf8");
  writeFileSync(
    PAGE,
    page.replace(FIGURES, (_, start: string, end: string) => `${start}${figures(fitted)}${end}`),
  );
  mkdirSync(dirname(CHART), { recursive: true });
  writeFileSync(CHART, chart(fitted));
  console.log(`wrote ${PAGE}, ${CHART}`);
}

function curves(settings: KuraSettings): Curve[] {
  const load = [1, 2, 4, 8, 16, 32, 64];
  const all: Curve[] = [
    {
      name: "Write 128 KiB",
      unit: "calls in flight",
      counts: load,
      run: (options, count, report) =>
        transfer(options, "upload", { writers: count, connections: Math.min(8, count) }, report),
    },
    {
      name: "Read 128 KiB",
      unit: "calls in flight",
      counts: load,
      run: (options, count, report) =>
        transfer(options, "readBack", { writers: count, connections: Math.min(8, count) }, report),
    },
    {
      name: "Write 128 KiB x256",
      unit: "connections",
      counts: [1, 4, 16, 64, 256],
      run: (options, count, report) => transfer(options, "upload", { writers: 256, connections: count }, report),
    },
    {
      name: "Read 128 KiB x256",
      unit: "connections",
      counts: [1, 4, 16, 64, 256],
      run: (options, count, report) => transfer(options, "readBack", { writers: 256, connections: count }, report),
    },
    optionCurve("Write 128 KiB x32", "shards", "upload", settings),
  ];
  // Where this version of the server has them.
  if (!serverOptions().includes("--listeners")) return all;
  return [
    ...all,
    optionCurve("Write 128 KiB x32", "listeners", "upload", settings),
    optionCurve("Read 128 KiB x32", "listeners", "readBack", settings),
  ];
}

/** Over values of an option of the server. */
function optionCurve(
  name: string,
  unit: "shards" | "listeners",
  operation: "upload" | "readBack",
  settings: KuraSettings,
): Curve {
  return {
    name,
    unit,
    counts: [1, 2, 3, 4],
    run: async (options, count, report) => {
      const system = kura({ ...settings, extraArguments: [`--${unit}`, `${count}`] });
      await transfer({ ...options, system }, operation, {}, report);
    },
  };
}

/** One row: uploads of 128 KiB, or reads of what was uploaded, on a fresh server that is warm. */
async function transfer(
  options: BenchOptions,
  operation: "upload" | "readBack",
  load: { writers?: number; connections?: number },
  report: (row: BenchRow) => void,
): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  const classes = [{ sizeBytes: 128 * KIB, weight: 1 }];
  await using warmUp = await bench.load(classes, 64 * MIB);
  await warmUp.run("upload");
  await warmUp.run("readBack");
  await using client = await bench.load(classes, options.runBytes, load);
  if (operation === "readBack") await client.run("upload");
  await bench.measure(`${operation === "upload" ? "Write" : "Read"} 128 KiB`, client, operation);
  await bench.stop();
}

function figures(fitted: readonly FittedCurve[]): string {
  const date = new Date().toISOString().slice(0, 10);
  const lines = [
    "",
    `${date}, ${Object.values(describeMachine()).join(", ")}.`,
    "",
    "| call | over | measured, calls a second | σ | κ | best at | the law for 8, 16, 32, 64 of them |",
    "|---|---|---|---|---|---|---|",
    ...fitted.map(({ curve, rows, law }) => {
      const measured = rows.map((row, i) => `${curve.counts[i]}: ${formatRate(row.operationsPerSecond)}`).join(", ");
      const best = bestWorkers(law);
      const predicted = LARGER_MACHINES.map((count) => formatRate(rateOf(law, count))).join(", ");
      const cells = [
        curve.name,
        curve.unit,
        measured,
        law.contention.toFixed(3),
        law.coherency.toFixed(5),
        Number.isFinite(best) ? best.toFixed(0) : "no peak",
        predicted,
      ];
      return `| ${cells.join(" | ")} |`;
    }),
    "",
    "| call | main thread, us | worker threads, us | garbage collection, file reads, us | all threads, us | main thread alone allows | calls a second on 8, 16, 32, 64 cores, one listener | with a listener for every two cores |",
    "|---|---|---|---|---|---|---|---|",
    ...fitted.filter(({ curve }) => curve.unit === "calls in flight").map(budgetLine),
    "",
  ];
  return `${lines.join("\n")}\n`;
}

/** Where the CPU time of a call goes at the highest load, and what the busiest kind of thread allows. */
function budgetLine({ curve, rows }: FittedCurve): string {
  const row = rows.at(-1);
  const microseconds = (seconds: number | undefined): number =>
    ((seconds ?? Number.NaN) / (row?.operations ?? Number.NaN)) * 1e6;
  const main = microseconds(row?.serverThreadCpuSeconds?.[MAIN_THREAD]);
  const workers = microseconds(row?.serverThreadCpuSeconds?.[WORKER_THREAD]);
  const threads = Object.values(row?.serverThreadCpuSeconds ?? {});
  const all = microseconds(threads.reduce((sum, seconds) => sum + seconds, 0));
  const allowed = (cores: number, listeners: number): number => Math.min((1e6 / main) * listeners, (1e6 / all) * cores);
  const cells = [
    `${curve.name} x${curve.counts.at(-1)}`,
    main.toFixed(0),
    workers.toFixed(0),
    (all - main - workers).toFixed(0),
    all.toFixed(0),
    formatRate(1e6 / main),
    LARGER_MACHINES.map((cores) => formatRate(allowed(cores, 1))).join(", "),
    LARGER_MACHINES.map((cores) => formatRate(allowed(cores, cores / 2))).join(", "),
  ];
  return `| ${cells.join(" | ")} |`;
}

function chart(fitted: readonly FittedCurve[]): string {
  const shown = fitted.filter(({ curve }) => curve.unit === "calls in flight");
  return lineChart({
    title: "Calls of 128 KiB a second over calls in flight: measured, and the law that was fitted",
    xTitle: "calls in flight",
    yTitle: "calls a second",
    series: shown.map(({ curve, rows, law }) => {
      const last = curve.counts.at(-1) ?? 1;
      const steps = Array.from({ length: 100 }, (_, i): Point => {
        const x = 1 + ((last - 1) * i) / 99;
        return { x, y: rateOf(law, x) };
      });
      const points = rows.map((row, i): Point => ({ x: curve.counts[i] ?? 0, y: row.operationsPerSecond }));
      return { name: curve.name, points, curve: steps };
    }),
  });
}
