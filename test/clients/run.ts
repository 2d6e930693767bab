/**
 * `npm run test:clients -- [fixture...] [--runs N] [--disk]`: real build tools against a real server, see README.md.
 * `--disk` runs each fixture against the tool's own disk cache instead: the yardstick, without a server.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { installPrograms, type RequiredProgram } from "../support/debian-packages.ts";
import { checkServerView } from "./server-view.ts";

const BAZEL: readonly RequiredProgram[] = [
  { program: "bazel", packages: ["bazel-bootstrap"] },
  { program: "python3", packages: ["python3"] },
  { program: "sha256sum", packages: ["coreutils"] },
];

const FIXTURES: Readonly<Record<string, readonly RequiredProgram[]>> = {
  "bazel-tree": BAZEL,
  "bazel-cc": [...BAZEL, { program: "g++", packages: ["g++"] }],
  "bazel-download": BAZEL,
};

/** For bazel-download, whose origin is on this machine and which has no yardstick; the others download nothing. */
const ORIGINS = ["--asset-origin-fetch", "on", "--asset-allow-private", "127.0.0.1"];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: "string", default: "1" }, disk: { type: "boolean", default: false } },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

/** Runs a fixture's own script, its table going to our output. @returns its exit code. */
async function runFixture(name: string, endpoint: string, workDirectory: string): Promise<number> {
  const script = fileURLToPath(new URL(`./${name}/run.sh`, import.meta.url));
  const child = spawn(script, [endpoint, workDirectory], { stdio: ["ignore", "inherit", "inherit"] });
  const kill = (): void => void child.kill("SIGTERM");
  process.once("exit", kill);
  const [code] = (await once(child, "exit")) as [number | null];
  process.removeListener("exit", kill);
  return code ?? 1;
}

/** @returns what is wrong; nothing for a pass. */
async function runOnce(name: string): Promise<string[]> {
  await using directory = await makeTemporaryDirectory(name);
  const workDirectory = join(directory.path, "work");
  if (values.disk) {
    const code = await runFixture(name, `disk:${join(directory.path, "disk-cache")}`, workDirectory);
    return code === 0 ? [] : [`run.sh exited ${code}`];
  }
  await using server = await ServerProcess.start({
    directory: join(directory.path, "data"),
    maxSize: "8GiB",
    extraArguments: ORIGINS,
  });
  const code = await runFixture(name, `grpc://${server.endpoint}`, workDirectory);
  const wrong = code === 0 ? [] : [`run.sh exited ${code}`];
  wrong.push(...(await checkServerView(server)));
  await server.stop();
  if (wrong.length > 0) console.log(`the server printed:\n${server.output}`);
  return wrong;
}

/** As a sentence for the summary; an exception is a failure as any other. */
async function runReported(name: string): Promise<boolean> {
  const wrong = await runOnce(name).catch((error: unknown) => [String(error)]);
  for (const text of wrong) console.log(`BAD  ${name}: ${text}`);
  return wrong.length === 0;
}

const comparable = Object.keys(FIXTURES).filter((name) => !values.disk || name !== "bazel-download");
const names = positionals.length > 0 ? positionals : comparable;
const programs = names.map((name) => FIXTURES[name] ?? []);
const unknown = names.filter((name) => !(name in FIXTURES));
if (unknown.length > 0)
  throw new Error(`no fixture ${unknown.join(", ")}; there are ${Object.keys(FIXTURES).join(", ")}`);
installPrograms(programs.flat());

let passed = 0;
let failed = 0;
for (let run = 1; run <= Number(values.runs); run++) {
  for (const name of names) {
    console.log(`\n== ${name}, run ${run} of ${values.runs}`);
    if (await runReported(name)) passed++;
    else failed++;
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
