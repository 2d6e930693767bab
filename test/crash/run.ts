/** `npm run test:crash -- --cycles 50 --writers 16 --seed S`: see crash-cycles.ts. */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { type CycleReport, cyclePassed, runCrashCycles } from "./crash-cycles.ts";

const { values } = parseArgs({
  options: {
    cycles: { type: "string", default: "50" },
    writers: { type: "string", default: "16" },
    seed: { type: "string", default: `${randomInt(2 ** 40)}` },
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const COLUMNS = ["cycle", "killed ms", "acked", "unanswered", "whole", "restart ms", "read back", "actions", "bad"];

function row(cells: readonly (number | string)[]): string {
  return cells.map((cell) => `${cell}`.padStart(11)).join("");
}

function printCycle(report: CycleReport): void {
  const bad = [
    ...report.lost.map((name) => `LOST ${name}`),
    ...report.torn.map((name) => `TORN ${name}`),
    ...report.inconsistent.map((text) => `INCONSISTENT ${text}`),
    ...report.faults.map((text) => `FAULT ${text}`),
  ];
  const { cycle, killedAfterMs, acknowledgedBlobs, unansweredBlobs, unansweredButWhole, restartMs } = report;
  const uploads = [acknowledgedBlobs, unansweredBlobs, unansweredButWhole];
  const checks = [Math.round(restartMs), report.blobsVerified, report.actionsVerified, bad.length];
  console.log(row([cycle, killedAfterMs, ...uploads, ...checks]));
  for (const line of bad.slice(0, 20)) console.log(`  ${line}`);
}

const cycles = Number(values.cycles);
console.log(`${cycles} cycles, ${values.writers} writers, --seed ${values.seed}`);
console.log(row(COLUMNS));
const reports = await runCrashCycles({
  cycles,
  writers: Number(values.writers),
  seed: values.seed,
  report: printCycle,
});

const sum = (count: (report: CycleReport) => number): number =>
  reports.reduce((total, report) => total + count(report), 0);
const failed = reports.filter((report) => !cyclePassed(report)).length;
console.log(
  `${sum((report) => report.acknowledgedBlobs)} blobs acknowledged: ${sum((report) => report.lost.length)} lost, ` +
    `${sum((report) => report.torn.length)} torn blobs served, ${sum((report) => report.inconsistent.length)} inconsistent`,
);
console.log(`${reports.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 || reports.length !== cycles ? 1 : 0;
