/** `npm run bench`: see README.md for the questions, the options and the last numbers. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeTemporaryDirectory } from "../test/support/temporary-directory.ts";
import type { BenchOptions, BenchRow } from "./bench-options.ts";
import { compareTransports, describeMachine, formatHeader, formatRow, summarizeRows, toJson } from "./bench-report.ts";
import { parseByteSize } from "./byte-size.ts";
import { keepOffCpus } from "./cpu-pinning.ts";
import * as scenarios from "./scenarios.ts";

const SCENARIOS: Readonly<Record<string, scenarios.Scenario>> = {
  uploads: scenarios.uploadsAndReads,
  mix: scenarios.uploadMix,
  actions: scenarios.actions,
  find: scenarios.findMissing,
  batches: scenarios.batches,
  sizes: scenarios.sizes,
  "fan-in": scenarios.fanIn,
  connections: scenarios.connections,
  distance: scenarios.distance,
};

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
    transport: { type: "string", default: "native" },
    ab: { type: "string" },
    "pin-server": { type: "string" },
    only: { type: "string" },
    out: { type: "string" },
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const names = values.only?.split(",") ?? Object.keys(SCENARIOS);
const transports = values.ab?.split(",") ?? [values.transport];
if (values["pin-server"] !== undefined) keepOffCpus(values["pin-server"]);

await using directory = await makeTemporaryDirectory("bench");
const options: BenchOptions = {
  directory: directory.path,
  durability: values.durability === "relaxed" ? "relaxed" : "commit",
  transport: values.transport,
  serverCpus: values["pin-server"],
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
for (const name of names) {
  const scenario = SCENARIOS[name];
  if (scenario === undefined) throw new RangeError(`--only: expected some of ${Object.keys(SCENARIOS).join(",")}`);
  for (let run = 0; run < options.runs; run++) {
    for (const transport of transports) {
      await scenario({ ...options, transport }, (row) => {
        rows.push(row);
        console.log(formatRow(row));
      });
    }
  }
}

const summary = summarizeRows(rows);
console.log(`\nmedians of ${options.runs} runs\n${formatHeader()}`);
for (const row of summary.medians) console.log(formatRow(row));
if (transports.length > 1) console.log(`\n${transports[0]} to ${transports[1]}`);
for (const line of compareTransports(summary.medians, transports)) console.log(line);
if (summary.uploadsOfDiskLimit !== undefined) {
  const limit = summary.diskLimitOperationsPerSecond?.toFixed(0);
  console.log(
    `uploads reach ${(summary.uploadsOfDiskLimit * 100).toFixed(0)} % of the disk's own ${limit} group-committed records a second`,
  );
}
const out = values.out ?? join(mkdtempSync(join(tmpdir(), "kura-bench-result-")), "bench.json");
writeFileSync(out, toJson(options, rows, summary));
console.log(`wrote ${out}`);
