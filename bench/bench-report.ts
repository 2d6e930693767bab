import { cpus, release, totalmem } from "node:os";
import { medianRun } from "./measurement.ts";
import type { BenchOptions, BenchRow } from "./scenarios.ts";

const COLUMNS: readonly { title: string; width: number; cell: (row: BenchRow) => string }[] = [
  { title: "scenario", width: 30, cell: (row) => row.scenario },
  { title: "durability", width: 11, cell: (row) => row.durability },
  { title: "ops", width: 7, cell: (row) => `${row.operations}` },
  { title: "ops/s", width: 8, cell: (row) => row.operationsPerSecond.toFixed(0) },
  { title: "MB/s", width: 8, cell: (row) => row.megabytesPerSecond.toFixed(1) },
  { title: "p50 ms", width: 8, cell: (row) => row.p50Ms.toFixed(2) },
  { title: "p99 ms", width: 8, cell: (row) => row.p99Ms.toFixed(2) },
  { title: "server s/GB", width: 12, cell: (row) => perGigabyte(row, row.serverCpuSeconds) },
  { title: "client s/GB", width: 12, cell: (row) => perGigabyte(row, row.clientCpuSeconds) },
  { title: "RSS MiB", width: 9, cell: (row) => row.serverRssPeakMib?.toFixed(0) ?? "-" },
  { title: "(before)", width: 9, cell: (row) => row.serverRssIdleMib?.toFixed(0) ?? "-" },
];

function perGigabyte(row: BenchRow, cpuSeconds: number | undefined): string {
  return cpuSeconds === undefined ? "-" : (cpuSeconds / (row.bytes / 1e9)).toFixed(2);
}

export function formatHeader(): string {
  return formatCells(COLUMNS.map((column) => column.title));
}

export function formatRow(row: BenchRow): string {
  return formatCells(COLUMNS.map((column) => column.cell(row)));
}

function formatCells(cells: readonly string[]): string {
  return cells
    .map((cell, i) => (i < 2 ? cell.padEnd(COLUMNS[i]?.width ?? 0) : cell.padStart(COLUMNS[i]?.width ?? 0)))
    .join("");
}

/** Medians of each scenario, and the ratio of durable uploads to the best that the disk did in the same run. */
export interface BenchSummary {
  readonly medians: BenchRow[];
  readonly diskLimitOperationsPerSecond: number | undefined;
  readonly uploadsOfDiskLimit: number | undefined;
}

export function summarizeRows(rows: readonly BenchRow[]): BenchSummary {
  const scenarios = [...new Set(rows.map((row) => row.scenario))];
  const medians = scenarios.map((scenario) => medianRun(rows.filter((row) => row.scenario === scenario)));
  const limits = medians.filter((row) => row.scenario.startsWith("disk limit")).map((row) => row.operationsPerSecond);
  const uploads = medians.find((row) => row.scenario.startsWith("upload") && !row.scenario.includes("mix"));
  const limit = limits.length === 0 ? undefined : Math.max(...limits);
  const ratio = limit === undefined || uploads === undefined ? undefined : uploads.operationsPerSecond / limit;
  return { medians, diskLimitOperationsPerSecond: limit, uploadsOfDiskLimit: ratio };
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
