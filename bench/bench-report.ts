import { cpus, release, totalmem } from "node:os";
import { medianRun } from "./measurement.ts";
import type { BenchOptions, BenchRow } from "./bench-options.ts";

const COLUMNS: readonly { title: string; width: number; cell: (row: BenchRow) => string }[] = [
  { title: "scenario", width: 30, cell: (row) => row.scenario },
  { title: "system", width: 14, cell: (row) => row.system },
  { title: "durability", width: 11, cell: (row) => row.durability },
  { title: "ops/s", width: 8, cell: (row) => formatRate(row.operationsPerSecond) },
  { title: "items/s", width: 9, cell: (row) => (row.operationsPerSecond * row.itemsPerOperation).toFixed(0) },
  { title: "MB/s", width: 8, cell: (row) => (row.bytes === 0 ? "-" : row.megabytesPerSecond.toFixed(1)) },
  { title: "p50 ms", width: 9, cell: (row) => row.p50Ms.toFixed(2) },
  { title: "p99", width: 9, cell: (row) => row.p99Ms.toFixed(2) },
  { title: "p99.9", width: 9, cell: (row) => row.p999Ms.toFixed(2) },
  { title: "p99/p50", width: 8, cell: (row) => (row.p99Ms / row.p50Ms).toFixed(1) },
  { title: "server us/op", width: 13, cell: (row) => perOperation(row, row.serverCpuSeconds) },
  { title: "s/GB", width: 7, cell: (row) => perGigabyte(row, row.serverCpuSeconds) },
  { title: "client us/op", width: 13, cell: (row) => perOperation(row, row.clientCpuSeconds) },
  { title: "s/GB", width: 7, cell: (row) => perGigabyte(row, row.clientCpuSeconds) },
  { title: "RSS MiB", width: 8, cell: (row) => row.serverRssPeakMib?.toFixed(0) ?? "-" },
  { title: "(before)", width: 9, cell: (row) => row.serverRssIdleMib?.toFixed(0) ?? "-" },
];
const TEXT_COLUMNS = 3;

/** Large blobs make less than one call a second. */
export function formatRate(perSecond: number): string {
  return perSecond.toFixed(perSecond < 10 ? 2 : 0);
}

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

/** Medians, by rate, of each scenario and system. */
export interface BenchSummary {
  readonly medians: BenchRow[];
  readonly diskLimitOperationsPerSecond: number | undefined;
  /** Durable uploads to the best that the disk did in the same run. */
  readonly uploadsOfDiskLimit: number | undefined;
}

export function summarizeRows(rows: readonly BenchRow[]): BenchSummary {
  const kinds = Map.groupBy(rows, (row) => `${row.scenario}\n${row.system}`);
  const medians = [...kinds.values()].map((kind) => medianRun(kind));
  const limits = medians.filter((row) => row.scenario.startsWith("disk limit")).map((row) => row.operationsPerSecond);
  const uploads = medians.find((row) => row.scenario.startsWith("upload") && !row.scenario.includes("mix"));
  const limit = limits.length === 0 ? undefined : Math.max(...limits);
  const ratio = limit === undefined || uploads === undefined ? undefined : uploads.operationsPerSecond / limit;
  return { medians, diskLimitOperationsPerSecond: limit, uploadsOfDiskLimit: ratio };
}

/** A system against another one, by the medians of a scenario that both have. */
export interface Comparison {
  readonly scenario: string;
  readonly system: string;
  readonly other: string;
  /** Above 1: faster than the other one. */
  readonly rate: number;
  /** Below 1: cheaper than the other one. */
  readonly cpuPerOperation: number;
}

/** The first system against each of the others. */
export function compareSystems(medians: readonly BenchRow[], [first, ...others]: readonly string[]): Comparison[] {
  return medians
    .filter((row) => row.system === first)
    .flatMap((row) =>
      others.flatMap((name) => {
        const other = medians.find(({ scenario, system }) => scenario === row.scenario && system === name);
        if (other === undefined) return [];
        const rate = row.operationsPerSecond / other.operationsPerSecond;
        const cpuPerOperation = cpuSecondsPerOperation(row) / cpuSecondsPerOperation(other);
        return [{ scenario: row.scenario, system: row.system, other: name, rate, cpuPerOperation }];
      }),
    );
}

export function formatComparison({ scenario, system, other, rate, cpuPerOperation }: Comparison): string {
  const ratios = `rate ${rate.toFixed(2)}, server CPU per call ${cpuPerOperation.toFixed(2)}`;
  return `${scenario.padEnd(30)}${system} to ${other}: ${ratios}`;
}

function cpuSecondsPerOperation(row: BenchRow): number {
  return (row.serverCpuSeconds ?? Number.NaN) / row.operations;
}

/** The load client's part of all the CPU time of a row, from 0 to 1. */
export function clientShare(row: BenchRow): number {
  const client = row.clientCpuSeconds ?? Number.NaN;
  return client / (client + (row.serverCpuSeconds ?? Number.NaN));
}

/** A load that costs as much as the server measures itself. */
export function describeClientShare(rows: readonly BenchRow[]): string {
  const shares = rows
    .map((row) => ({ scenario: row.scenario, share: clientShare(row) }))
    .filter(({ share }) => !Number.isNaN(share))
    .toSorted((a, b) => a.share - b.share);
  const percent = (at: number): string => `${((shares.at(at)?.share ?? Number.NaN) * 100).toFixed(0)} %`;
  const most = shares.at(-1)?.scenario ?? "none";
  return `the load client's part of all CPU time: median ${percent(shares.length >> 1)}, at most ${percent(-1)} (${most})`;
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

/** In one line. */
export function machineLine(): string {
  const { cpu, cores, memoryGib, kernel, node } = describeMachine();
  return `${cpu}, ${cores} cores, ${memoryGib} GiB, Linux ${kernel}, Node ${node}`;
}

export function toJson(options: BenchOptions, rows: readonly BenchRow[], summary: BenchSummary): string {
  const { directory: _, system: __, ...settings } = options;
  return `${JSON.stringify({ machine: describeMachine(), settings, summary, rows }, undefined, 2)}\n`;
}
