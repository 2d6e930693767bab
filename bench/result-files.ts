/** What a run has found, in files that are small enough to be kept: `results/NAME.json`, `.md` and `.svg`. */
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { clientShare, compareSystems, describeMachine, formatRate, machineLine } from "./bench-report.ts";
import type { BenchOptions, BenchRow } from "./bench-options.ts";
import type { PeerFailure } from "./run-scenarios.ts";
import { barChart } from "./svg-charts.ts";

const DIRECTORY = fileURLToPath(new URL("./results/", import.meta.url));
const FIGURES = 4;

export interface Results {
  readonly options: BenchOptions;
  readonly command: string;
  readonly rows: readonly BenchRow[];
  readonly medians: readonly BenchRow[];
  readonly failures: readonly PeerFailure[];
  /** Peers that are not on this machine. */
  readonly absent: readonly string[];
}

/** @returns the paths. */
export function writeResults(name: string, results: Results): string[] {
  const systems = systemsOf(results.medians);
  const files = {
    json: toJson(results, systems),
    md: toMarkdown(name, results, systems),
    svg: barChart({
      title: "Calls a second, by system; in each group as parts of the fastest",
      series: systems,
      groups: Map.groupBy(results.medians, (row) => row.scenario)
        .entries()
        .map(([label, rows]) => ({
          label,
          values: systems.map((system) => rows.find((row) => row.system === system)?.operationsPerSecond),
        }))
        .toArray(),
    }),
  };
  mkdirSync(DIRECTORY, { recursive: true });
  return Object.entries(files).map(([extension, text]) => {
    const path = `${DIRECTORY}${name}.${extension}`;
    writeFileSync(path, text);
    return path;
  });
}

function systemsOf(rows: readonly BenchRow[]): string[] {
  return [...new Set(rows.map((row) => row.system))];
}

/** Medians in full, of the runs behind them only the rates. */
function toJson({ command, rows, medians, failures, absent }: Results, systems: readonly string[]): string {
  const rates = medians.map((median) => ({
    ...median,
    runs: rows.filter((row) => isSameKind(row, median)).map((row) => Math.round(row.operationsPerSecond)),
  }));
  const all = {
    date: today(),
    machine: describeMachine(),
    load: loadAtEnd(),
    command,
    absent,
    failures,
    comparisons: compareSystems(medians, systems),
  };
  return `${JSON.stringify({ ...all, medians: rates }, round, 1)}\n`;
}

function toMarkdown(
  name: string,
  { command, medians, rows, failures, absent }: Results,
  systems: readonly string[],
): string {
  const [first = ""] = systems;
  const ratios = compareSystems(medians, systems);
  const lines = [
    `# ${name}`,
    "",
    `\`${command}\`, ${today()}, ${machineLine()}, ${loadAtEnd()}. Medians; rates of all runs in brackets.`,
    "",
    `| scenario | system | on disk when acknowledged | ops/s | MB/s | p50, p99, p99.9 ms | server us/op | RSS MiB | client's part of the CPU | rate of ${first} to it |`,
    "|---|---|---|---|---|---|---|---|---|---|",
    ...medians.map((row) => {
      const ratio = ratios.find(({ scenario, other }) => scenario === row.scenario && other === row.system);
      const runs = rows.filter((run) => isSameKind(run, row)).map((run) => formatRate(run.operationsPerSecond));
      const cells = [
        row.scenario,
        row.system,
        row.durability,
        `${formatRate(row.operationsPerSecond)} (${runs.join(", ")})`,
        row.bytes === 0 ? "" : row.megabytesPerSecond.toFixed(0),
        [row.p50Ms, row.p99Ms, row.p999Ms].map((ms) => ms.toPrecision(3)).join(", "),
        row.serverCpuSeconds === undefined ? "" : ((row.serverCpuSeconds / row.operations) * 1e6).toFixed(0),
        row.serverRssPeakMib?.toFixed(0) ?? "",
        Number.isNaN(clientShare(row)) ? "" : `${(clientShare(row) * 100).toFixed(0)} %`,
        ratio === undefined ? "" : ratio.rate.toFixed(2),
      ];
      return `| ${cells.join(" | ")} |`;
    }),
    "",
    ...failures.map(
      ({ scenario, system, reason }) => `- ${system} did not pass \`${scenario}\`: ${reason.split("\n")[0]}`,
    ),
    ...(absent.length > 0 ? [`- Not on this machine: ${absent.join(", ")}.`] : []),
    "",
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}

function today(): string {
  return new Date().toISOString().slice(0, 10);
}

function loadAtEnd(): string {
  return `load ${loadavg()[0]?.toFixed(1)} at the end`;
}

function isSameKind(a: BenchRow, b: BenchRow): boolean {
  return a.scenario === b.scenario && a.system === b.system;
}

function round(_key: string, value: unknown): unknown {
  return typeof value === "number" ? Number(value.toPrecision(FIGURES)) : value;
}
