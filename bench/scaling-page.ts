import { loadavg } from "node:os";
import { formatRate, machineLine } from "./bench-report.ts";
import type { BenchRow } from "./bench-options.ts";
import { lineChart, type Point } from "./svg-charts.ts";
import { bestWorkers, rateOf, type ScalabilityLaw } from "./universal-scalability.ts";

export const CALLS_IN_FLIGHT = "calls in flight";
const LARGER_MACHINES = [8, 16, 32, 64];
/** As the system names them: the one that has the sockets, and those of the shards and of other workers. */
const MAIN_THREAD = "MainThread";
const WORKER_THREAD = "WorkerThread";

export interface CurveName {
  readonly name: string;
  /** What there is more and more of. */
  readonly unit: string;
  readonly counts: readonly number[];
}

export interface FittedCurve {
  readonly curve: CurveName;
  /** Medians, by count. */
  readonly rows: readonly BenchRow[];
  readonly law: ScalabilityLaw;
}

/** The tables, as Markdown. */
export function scalingFigures(fitted: readonly FittedCurve[]): string {
  const date = new Date().toISOString().slice(0, 10);
  const lines = [
    "",
    `${date}, ${machineLine()}, load ${loadavg()[0]?.toFixed(1)} at the end.`,
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
    ...fitted.filter(({ curve }) => curve.unit === CALLS_IN_FLIGHT).map(budgetLine),
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

export function scalingChart(fitted: readonly FittedCurve[]): string {
  const shown = fitted.filter(({ curve }) => curve.unit === CALLS_IN_FLIGHT);
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
