/**
 * `npm run test:clients -- [fixture...] [--runs N] [--disk]`: real build tools against a real server, see README.md.
 * `--disk` runs the fixtures of tools with a disk cache against that instead: the yardstick, without a server.
 */
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { installPrograms } from "../support/debian-packages.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { bazelBuild, bazelDownload } from "./bazel/bazel-clients.ts";
import { ccacheClient } from "./ccache/ccache-client.ts";
import { type ClientFixture, type ClientReport, describeReports, faultsOf } from "./client-fixture.ts";
import { gradleClient } from "./gradle/gradle-client.ts";
import { metroClient } from "./metro/metro-client.ts";
import { nxClient } from "./nx/nx-client.ts";
import { sccacheClient } from "./sccache/sccache-client.ts";
import { checkServerView } from "./server-view.ts";
import { turboClient } from "./turbo/turbo-client.ts";

const FIXTURES: Map<string, ClientFixture> = new Map([
  ["bazel-tree", bazelBuild("bazel-tree", "Use it from Bazel")],
  ["bazel-cc", bazelBuild("bazel-cc", "Use it from Bazel")],
  ["bazel-download", bazelDownload],
  ["bazel-http", bazelBuild("bazel-tree", "Bazel over HTTP")],
  ["gradle", gradleClient],
  ["ccache", ccacheClient],
  ["nx", nxClient],
  ["turbo", turboClient],
  ["sccache", sccacheClient],
  ["metro", metroClient],
]);

/** Fixtures of tools that also run, under this ending of their names, against a server that wants a token. */
const TOKEN_ENDING = "-token";
for (const name of ["gradle", "ccache", "nx", "turbo", "sccache", "metro"]) {
  const fixture = FIXTURES.get(name);
  if (fixture !== undefined) FIXTURES.set(`${name}${TOKEN_ENDING}`, fixture);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: "string", default: "1" }, disk: { type: "boolean", default: false } },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

/** @returns what the tool reports, and what the server has to complain of. */
async function runOnce(name: string, fixture: ClientFixture): Promise<{ reports: ClientReport[]; faults: string[] }> {
  await using directory = await makeTemporaryDirectory(name);
  if (values.disk) return { reports: (await fixture.yardstick?.(directory.path)) ?? [], faults: [] };
  await using storage = await makeTemporaryDirectory(`${name}-data`);
  const token = name.endsWith(TOKEN_ENDING) ? randomBytes(32).toString("hex") : undefined;
  await using server = await ServerProcess.start({
    directory: join(storage.path, "data"),
    maxSize: "8GiB",
    extraArguments: [...(fixture.serverArguments ?? []), ...(token === undefined ? [] : wanting(token, storage.path))],
  });
  try {
    const { endpoint } = server;
    const told = token === undefined ? { endpoint } : { endpoint, token };
    const reports = (await fixture.run({ server: told, directory: directory.path })).map((report) =>
      token === undefined ? report : { ...report, tool: `${report.tool}, with a token` },
    );
    const faults = await checkServerView(server);
    await server.stop();
    if (faults.length > 0) console.log(`the server printed:\n${server.output}`);
    return { reports, faults };
  } catch (error) {
    console.log(`the server printed:\n${server.output}`);
    throw error;
  }
}

/** Options of a server that lets in who shows the token, and lets everybody see how it is. */
function wanting(token: string, directory: string): string[] {
  const path = join(directory, "tokens");
  writeFileSync(path, `ci:${createHash("sha256").update(token).digest("hex")}\n`);
  return ["--auth-tokens", path, "--anonymous-role", "none", "--status-role", "none"];
}

const selected = positionals.length > 0 ? positionals : [...FIXTURES.keys()];
const unknown = selected.filter((name) => !FIXTURES.has(name));
if (unknown.length > 0) {
  throw new Error(`no fixture ${unknown.join(", ")}; there are ${[...FIXTURES.keys()].join(", ")}`);
}
const fixtures = selected.flatMap((name) => {
  const fixture = FIXTURES.get(name);
  return fixture === undefined || (values.disk && fixture.yardstick === undefined) ? [] : [{ name, fixture }];
});
installPrograms(fixtures.flatMap(({ fixture }) => fixture.programs));

const table: ClientReport[] = [];
let passed = 0;
let failed = 0;
for (let run = 1; run <= Number(values.runs); run++) {
  for (const { name, fixture } of fixtures) {
    console.log(`\n== ${name}, run ${run} of ${values.runs}`);
    const { reports, faults } = await runOnce(name, fixture).catch((error: unknown) => ({
      reports: [],
      faults: [String(error)],
    }));
    const wrong = [...faults, ...reports.flatMap(faultsOf)];
    for (const text of wrong) console.log(`  BAD  ${name}: ${text}`);
    if (wrong.length === 0 && reports.length > 0) passed++;
    else failed++;
    table.push(...reports);
  }
}
console.log(`\n${describeReports(table)}\n${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
