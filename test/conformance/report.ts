import type { Finding, Level, Verdict } from "./requirement.ts";

export interface Tally {
  readonly passed: number;
  /** Rows that count: with `strict` every FAIL, else those of a MUST. */
  readonly failed: number;
  readonly shouldFailed: number;
  readonly notOffered: number;
}

export function tally(findings: readonly Finding[], strict: boolean): Tally {
  const count = (verdict: Verdict, level?: Level): number =>
    findings.filter((finding) => finding.verdict === verdict && (level ?? finding.level) === finding.level).length;
  const shouldFailed = count("FAIL", "SHOULD");
  return {
    passed: count("pass"),
    failed: count("FAIL", "MUST") + (strict ? shouldFailed : 0),
    shouldFailed,
    notOffered: count("not offered"),
  };
}

const ID_WIDTH = 33;
const SOURCE_WIDTH = 52;

export function formatHeading(): string {
  return `${"id".padEnd(ID_WIDTH)} ${"level".padEnd(6)} ${"result".padEnd(11)} ${"source".padEnd(SOURCE_WIDTH)} what`;
}

export function formatRow({ id, level, verdict, source, what, detail }: Finding): string {
  const row = `${id.padEnd(ID_WIDTH)} ${level.padEnd(6)} ${verdict.padEnd(11)} ${source.padEnd(SOURCE_WIDTH)} ${what}`;
  return detail === "" ? row : `${row}\n${"".padEnd(ID_WIDTH)} ${detail}`;
}

/** The last line is for scripts. */
export function formatTally({ passed, failed, shouldFailed, notOffered }: Tally, strict: boolean): string {
  const shoulds = strict ? "counted as failed" : "not counted below";
  const lines = [
    `${notOffered} rows are about what the server does not offer`,
    `${shouldFailed} SHOULD failed, ${shoulds}`,
    `${passed} passed, ${failed} failed`,
  ];
  return lines.join("\n");
}
