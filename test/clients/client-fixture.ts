import type { RequiredProgram } from "../support/debian-packages.ts";
import type { SnippetServer } from "./readme-snippet.ts";

/** What a fixture works with. */
export interface ClientSurroundings {
  /** Nobody else uses it. */
  readonly server: SnippetServer;
  /** Empty, on a disk, removed afterwards; all that the tool writes goes here. */
  readonly directory: string;
}

/** What a tool did in a cold build and, once all that it had kept was wiped, in a warm one. */
export interface ClientReport {
  readonly tool: string;
  readonly version: string;
  /** What each of the two builds has to come by: tasks, compilations, modules. */
  readonly wanted: number;
  /** How much of it the tool made itself. */
  readonly madeCold: number;
  readonly madeWarm: number;
  /** What the tool says that it took from the remote cache in the warm build. */
  readonly hits: number;
  /** Paths whose bytes in the warm build are not those of the cold one. */
  readonly differing: readonly string[];
  /** Warnings and errors of the tool, and whatever else should not be. */
  readonly complaints: readonly string[];
}

/** A real build tool against a real server. */
export interface ClientFixture {
  readonly programs: readonly RequiredProgram[];
  /** What the server has to be started with. */
  readonly serverArguments?: readonly string[];
  /** @throws where the tool itself fails. */
  run(surroundings: ClientSurroundings): Promise<ClientReport[]>;
  /** The same with a cache that the tool itself has on disk, where it has one that can stand for a remote one. */
  yardstick?(directory: string): Promise<ClientReport[]>;
}

/** @returns what is wrong; nothing for a pass. */
export function faultsOf(report: ClientReport): string[] {
  const { wanted, madeCold, madeWarm, hits, differing, complaints } = report;
  const faults = [...complaints, ...differing.map((path) => `${path} is not as in the cold build`)];
  if (wanted === 0) faults.push("nothing was to be built");
  if (madeCold !== wanted) faults.push(`the cold build made ${madeCold} of ${wanted}`);
  if (madeWarm !== 0) faults.push(`the warm build made ${madeWarm} again`);
  if (hits !== wanted) faults.push(`the warm build took ${hits} of ${wanted} from the cache`);
  return faults;
}

/** The rows of the table, in Markdown. */
export function describeReports(reports: readonly ClientReport[]): string {
  const rows = reports.map((report) => [
    report.tool,
    report.version,
    `${report.madeCold} made`,
    `${report.madeWarm} made`,
    `${report.hits} of ${report.wanted}`,
    report.differing.length === 0 ? "yes" : "no",
    faultsOf(report).length === 0 ? "PASS" : "FAIL",
  ]);
  const head = ["tool", "version", "cold", "warm", "hits", "bytes identical", "verdict"];
  const table = [head, head.map(() => "---"), ...rows];
  const widths = head.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  return table
    .map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`)
    .join("\n");
}
