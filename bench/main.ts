/** `npm run bench`: see README.md for the questions, the options and the last numbers. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeTemporaryDirectory } from "../test/support/temporary-directory.ts";
import type { BenchOptions } from "./bench-options.ts";
import {
  compareSystems,
  describeClientShare,
  formatComparison,
  formatHeader,
  formatRow,
  machineLine,
  summarizeRows,
  toJson,
} from "./bench-report.ts";
import { parseByteSize } from "./byte-size.ts";
import { keepOffCpus } from "./cpu-pinning.ts";
import { writeResults } from "./result-files.ts";
import { runScenarios } from "./run-scenarios.ts";
import { SCENARIO_NAMES, type ScenarioName } from "./scenario-names.ts";
import { measureScaling } from "./scaling.ts";
import { kura } from "./systems/kura.ts";
import { findPeers } from "./systems/peers.ts";

const COMPARED: readonly ScenarioName[] = ["replay", "uploads", "actions", "find", "batches", "sizes"];

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
    compare: { type: "boolean", default: false },
    scaling: { type: "boolean", default: false },
    peer: { type: "string", multiple: true, default: [] },
    "pin-server": { type: "string" },
    only: { type: "string" },
    out: { type: "string" },
    results: { type: "string" },
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const durability = values.durability === "relaxed" ? "relaxed" : "commit";
const transports = values.ab?.split(",") ?? [values.transport];
const peers = values.compare ? findPeers(values.peer) : { found: [], absent: [] };
const systems = [...transports.map((transport) => kura({ transport, durability })), ...peers.found];
const [system = kura({ transport: values.transport, durability })] = systems;
const names = values.only?.split(",").map(toScenarioName) ?? (values.compare ? COMPARED : SCENARIO_NAMES);
if (values["pin-server"] !== undefined) keepOffCpus(values["pin-server"]);

await using directory = await makeTemporaryDirectory("bench");
const options: BenchOptions = {
  directory: directory.path,
  system,
  serverCpus: values["pin-server"],
  writers: Number(values.writers),
  connections: Number(values.connections),
  clientThreads: Number(values["client-threads"]),
  blobBytes: parseByteSize(values.size),
  runBytes: parseByteSize(values.bytes),
  mixBytes: parseByteSize(values["mix-bytes"]),
  runs: Number(values.runs),
};

console.log(machineLine());
console.log(formatHeader());
if (values.scaling) await measureScaling(options, { transport: values.transport, durability });
else await measureScenarios();

/** All the scenarios that were asked for, and what came of them. */
async function measureScenarios(): Promise<void> {
  if (peers.absent.length > 0) console.log(`not on this machine: ${peers.absent.join(", ")}`);
  const { rows, failures } = await runScenarios(names, systems, options);
  const summary = summarizeRows(rows);
  console.log(`\nmedians of ${options.runs} runs\n${formatHeader()}`);
  for (const row of summary.medians) console.log(formatRow(row));
  console.log("");
  const comparisons = compareSystems(
    summary.medians,
    systems.map(({ name }) => name),
  );
  for (const comparison of comparisons) console.log(formatComparison(comparison));
  console.log(describeClientShare(summary.medians.filter((row) => row.system === system.name)));
  if (summary.uploadsOfDiskLimit !== undefined) {
    const limit = summary.diskLimitOperationsPerSecond?.toFixed(0);
    console.log(
      `uploads reach ${(summary.uploadsOfDiskLimit * 100).toFixed(0)} % of the disk's own ${limit} group-committed records a second`,
    );
  }
  const out = values.out ?? join(mkdtempSync(join(tmpdir(), "kura-bench-result-")), "bench.json");
  writeFileSync(out, toJson(options, rows, summary));
  console.log(`wrote ${out}`);
  if (values.results !== undefined) {
    const command = `npm run bench -- ${process.argv.slice(2).join(" ")}`;
    const results = { options, command, rows, medians: summary.medians, failures, absent: peers.absent };
    console.log(`wrote ${writeResults(values.results, results).join(", ")}`);
  }
}

function toScenarioName(text: string): ScenarioName {
  const name = SCENARIO_NAMES.find((candidate) => candidate === text);
  if (name === undefined) throw new RangeError(`--only: expected some of ${SCENARIO_NAMES.join(",")}, got ${text}`);
  return name;
}
