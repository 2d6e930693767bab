/**
 * `npm run test:conformance -- [--target HOST:PORT] [--instance NAME] [--tls-ca FILE] [--header k=v] [--only REGEX]
 * [--json FILE] [--strict]`: what a server makes of the cache half of the Remote Execution API, see README.md.
 * Without a target: of Kura, for which every row has to pass.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { formatHeading, formatRow, formatTally, tally } from "./report.ts";
import { examine, type Finding } from "./requirement.ts";
import { REQUIREMENTS } from "./requirements.ts";
import { Target, type TargetOptions } from "./target.ts";

const { values } = parseArgs({
  options: {
    target: { type: "string" },
    instance: { type: "string", default: "" },
    "tls-ca": { type: "string" },
    header: { type: "string", multiple: true, default: [] },
    only: { type: "string", default: "" },
    json: { type: "string" },
    strict: { type: "boolean", default: false },
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

function headerOf(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new Error(`--header: expected NAME=VALUE, got ${text}`);
  return [text.slice(0, at).toLowerCase(), text.slice(at + 1)];
}

function targetOptions(endpoint: string): TargetOptions {
  const tlsCa = values["tls-ca"];
  return {
    endpoint,
    instanceName: values.instance,
    headers: values.header.map(headerOf),
    ...(tlsCa === undefined ? {} : { tlsCa: readFileSync(tlsCa) }),
  };
}

/** Row by row, each printed as it is known. */
async function examineAll(endpoint: string): Promise<Finding[]> {
  const wanted = new RegExp(values.only);
  const findings: Finding[] = [];
  using target = await Target.connect(targetOptions(endpoint));
  console.log(formatHeading());
  for (const requirement of REQUIREMENTS.filter(({ id }) => wanted.test(id))) {
    const finding = await examine(requirement, target);
    console.log(formatRow(finding));
    findings.push(finding);
  }
  return findings;
}

async function examineKura(): Promise<Finding[]> {
  await using directory = await makeTemporaryDirectory("conformance");
  await using server = await ServerProcess.start({ directory: join(directory.path, "data"), durability: "relaxed" });
  const findings = await examineAll(server.endpoint);
  await server.stop();
  return findings;
}

const strict = values.strict || values.target === undefined;
const findings = await (values.target === undefined ? examineKura() : examineAll(values.target));
const counts = tally(findings, strict);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ ...counts, findings }, undefined, 2)}\n`);
console.log(formatTally(counts, strict));
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
