/** `npm run bench`: see README.md for the questions, the options and the last numbers. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeTemporaryDirectory } from "../test/support/temporary-directory.ts";
import { describeMachine, formatHeader, formatRow, summarizeRows, toJson } from "./bench-report.ts";
import { parseByteSize } from "./byte-size.ts";
import { type BenchOptions, type BenchRow, uploadMix, uploadsAndReads } from "./scenarios.ts";

const SCENARIOS = { uploads: uploadsAndReads, mix: uploadMix };

const { values } = parseArgs({
  options: {
    writers: { type: "string", default: "32" },
    connections: { type: "string", default: "8" },
    "client-threads": { type: "string", default: "1" },
    size: { type: "string", default: "128KiB" },
    bytes: { type: "string", default: "1GiB" },
    "mix-bytes": { type: "string", default: "2GiB" },
    runs: { type: "string", default: "3" },
    durability: { type: "string", default: "commit" },
    only: { type: "string" },
    out: { type: "string" },
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const scenarios = Object.entries(SCENARIOS).filter(([name]) => values.only === undefined || values.only === name);
if (scenarios.length === 0) throw new RangeError(`--only: expected one of ${Object.keys(SCENARIOS).join(", ")}`);

await using directory = await makeTemporaryDirectory("bench");
const options: BenchOptions = {
  directory: directory.path,
  durability: values.durability === "relaxed" ? "relaxed" : "commit",
  writers: Number(values.writers),
  connections: Number(values.connections),
  clientThreads: Number(values["client-threads"]),
  blobBytes: parseByteSize(values.size),
  runBytes: parseByteSize(values.bytes),
  mixBytes: parseByteSize(values["mix-bytes"]),
  runs: Number(values.runs),
};

console.log(Object.values(describeMachine()).join(", "));
console.log(formatHeader());
const rows: BenchRow[] = [];
for (const [, scenario] of scenarios) {
  await scenario(options, (row) => {
    rows.push(row);
    console.log(formatRow(row));
  });
}

const summary = summarizeRows(rows);
console.log(`\nmedians of ${options.runs} runs\n${formatHeader()}`);
for (const row of summary.medians) console.log(formatRow(row));
if (summary.uploadsOfDiskLimit !== undefined) {
  const limit = summary.diskLimitOperationsPerSecond?.toFixed(0);
  console.log(
    `uploads reach ${(summary.uploadsOfDiskLimit * 100).toFixed(0)} % of the disk's own ${limit} group-committed records a second`,
  );
}
const out = values.out ?? join(mkdtempSync(join(tmpdir(), "kura-bench-result-")), "bench.json");
writeFileSync(out, toJson(options, rows, summary));
console.log(`wrote ${out}`);
