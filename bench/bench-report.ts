import { cpus, release, totalmem } from "node:os";
import { medianRun } from "./measurement.ts";
import type { BenchOptions, BenchRow } from "./bench-options.ts";

const COLUMNS: readonly { title: string; width: number; cell: (row: BenchRow) => string }[] = [
  { title: "scenario", width: 30, cell: (row) => row.scenario },
  { title: "transport", width: 10, cell: (row) => row.transport },
  { title: "durability", width: 11, cell: (row) => row.durability },
  { title: "ops/s", width: 8, cell: (row) => row.operationsPerSecond.toFixed(0) },
  { title: "items/s", width: 9, cell: (row) => (row.operationsPerSecond * row.itemsPerOperation).toFixed(0) },
  { title: "MB/s", width: 8, cell: (row) => (row.bytes === 0 ? "-" : row.megabytesPerSecond.toFixed(1)) },
  { title: "p50 ms", width: 9, cell: (row) => row.p50Ms.toFixed(2) },
  { title: "p99", width: 9, cell: (row) => row.p99Ms.toFixed(2) },
  { title: "p99.9", width: 9, cell: (row) => row.p999Ms.toFixed(2) },
  { title: "server us/op", width: 13, cell: (row) => perOperation(row, row.serverCpuSeconds) },
  { title: "s/GB", width: 7, cell: (row) => perGigabyte(row, row.serverCpuSeconds) },
  { title: "client us/op", width: 13, cell: (row) => perOperation(row, row.clientCpuSeconds) },
  { title: "s/GB", width: 7, cell: (row) => perGigabyte(row, row.clientCpuSeconds) },
  { title: "RSS MiB", width: 8, cell: (row) => row.serverRssPeakMib?.toFixed(0) ?? "-" },
  { title: "(before)", width: 9, cell: (row) => row.serverRssIdleMib?.toFixed(0) ?? "-" },
];
const TEXT_COLUMNS = 3;

function perOperation(row: BenchRow, cpuSeconds: number | undefined): string {
  return cpuSeconds === undefined ? "-" : ((cpuSeconds / row.operations) * 1e6).toFixed(0);
}

function perGigabyte(row: BenchRow, cpuSeconds: number | undefined): string {
  return cpuSeconds === undefined || row.bytes === 0 ? "-" : (cpuSeconds / (row.bytes / 1e9)).toFixed(2);
}

export function formatHeader(): string {
  return formatCells(COLUMNS.map((column) => column.title));
}

export function formatRow(row: BenchRow): string {
  return formatCells(COLUMNS.map((column) => column.cell(row)));
}

function formatCells(cells: readonly string[]): string {
  return cells
    .map((cell, i) => (i < TEXT_COLUMNS ? cell.padEnd(COLUMNS[i]?.width ?? 0) : cell.padStart(COLUMNS[i]?.width ?? 0)))
    .join("");
}

/** Medians, by rate, of each scenario and transport. */
export interface BenchSummary {
  readonly medians: BenchRow[];
  readonly diskLimitOperationsPerSecond: number | undefined;
  /** Durable uploads to the best that the disk did in the same run. */
  readonly uploadsOfDiskLimit: number | undefined;
}

export function summarizeRows(rows: readonly BenchRow[]): BenchSummary {
  const kinds = Map.groupBy(rows, (row) => `${row.scenario}\n${row.transport}`);
  const medians = [...kinds.values()].map((kind) => medianRun(kind));
  const limits = medians.filter((row) => row.scenario.startsWith("disk limit")).map((row) => row.operationsPerSecond);
  const uploads = medians.find((row) => row.scenario.startsWith("upload") && !row.scenario.includes("mix"));
  const limit = limits.length === 0 ? undefined : Math.max(...limits);
  const ratio = limit === undefined || uploads === undefined ? undefined : uploads.operationsPerSecond / limit;
  return { medians, diskLimitOperationsPerSecond: limit, uploadsOfDiskLimit: ratio };
}

/** The first transport against the second one: rate, and server CPU per call, of the medians. */
export function compareTransports(medians: readonly BenchRow[], [a, b]: readonly string[]): string[] {
  return medians
    .filter((row) => row.transport === a)
    .flatMap((row) => {
      const other = medians.find(({ scenario, transport }) => scenario === row.scenario && transport === b);
      if (other === undefined) return [];
      const rate = row.operationsPerSecond / other.operationsPerSecond;
      const cpu = (row.serverCpuSeconds ?? 0) / row.operations / ((other.serverCpuSeconds ?? 0) / other.operations);
      return [`${row.scenario.padEnd(30)}rate ${rate.toFixed(2)}, server CPU per call ${cpu.toFixed(2)}`];
    });
}

export function describeMachine(): Record<string, string | number> {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
}

export function toJson(options: BenchOptions, rows: readonly BenchRow[], summary: BenchSummary): string {
  const { directory: _, ...settings } = options;
  return `${JSON.stringify({ machine: describeMachine(), settings, summary, rows }, undefined, 2)}\n`;
}
