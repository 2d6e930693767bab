/**
 * `npm run test:crash -- [suite...] [--cycles N] [--short] [--writers N] [--listeners N] [--seed S]`: hurts a real server process and
 * checks what it serves afterwards. Without a name: `kill`; `all` for every suite. Without `--cycles`: the long form.
 */
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { installPrograms, type RequiredProgram } from "../support/debian-packages.ts";
import type { CaseReport, CrashSuite } from "./crash-suite.ts";
import { damageSuite } from "./damage-suite.ts";
import { descriptorSuite } from "./descriptor-suite.ts";
import { diskFullSuite } from "./disk-full-suite.ts";
import { killSuite } from "./kill-suite.ts";
import { powerSuite } from "./power-suite.ts";
import { sigtermSuite } from "./sigterm-suite.ts";
import { syscallSuite } from "./syscall-suite.ts";
import { threadSuite } from "./thread-suite.ts";
import { twinSuite } from "./twin-suite.ts";

const SUITES: Readonly<Record<string, CrashSuite>> = {
  kill: killSuite,
  sigterm: sigtermSuite,
  threads: threadSuite,
  syscalls: syscallSuite,
  power: powerSuite,
  "disk-full": diskFullSuite,
  descriptors: descriptorSuite,
  twins: twinSuite,
  damage: damageSuite,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    cycles: { type: "string" },
    short: { type: "boolean", default: false },
    writers: { type: "string", default: "16" },
    listeners: { type: "string", default: "1" },
    seed: { type: "string", default: `${randomInt(2 ** 40)}` },
    /** Set by this program itself: it runs in a mount namespace of its own. */
    "private-mounts": { type: "boolean", default: false },
  },
});

interface Tally {
  passed: number;
  failed: number;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const NAME_WIDTH = 46;
const PROBLEMS_SHOWN_MAX = 20;

function printRow(name: string, cells: readonly (number | string)[]): void {
  const texts = cells.map((cell) => (typeof cell === "number" ? `${Math.round(cell)}` : cell).padStart(12));
  console.log(name.padEnd(NAME_WIDTH) + texts.join(""));
}

function printCase({ name, figures, problems }: CaseReport): void {
  printRow(name, [...figures, problems.length]);
  for (const problem of problems.slice(0, PROBLEMS_SHOWN_MAX)) console.log(`  BAD ${problem}`);
}

async function runSuite(suite: CrashSuite): Promise<Tally> {
  const cycles = Number(values.cycles ?? (values.short ? suite.cycles.short : suite.cycles.long));
  const bound = Number.isFinite(cycles) ? `${cycles} cycles` : "everything";
  console.log(`\n== ${suite.title} (${bound}, ${values.writers} writers, --seed ${values.seed})`);
  printRow("case", [...suite.columns, "bad"]);
  const sizes = { writers: Number(values.writers), listeners: Number(values.listeners) };
  const tally: Tally = { passed: 0, failed: 0 };
  const startedAtMs = performance.now();
  try {
    for await (const report of suite.run({ cycles, ...sizes, seed: values.seed })) {
      printCase(report);
      if (report.problems.length === 0) tally.passed++;
      else tally.failed++;
    }
  } catch (error) {
    console.log(`  BAD the suite itself failed: ${error instanceof Error ? error.stack : String(error)}`);
    tally.failed++;
  }
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(0);
  console.log(`-- ${suite.title}: ${tally.passed} cases passed, ${tally.failed} failed, ${seconds} s`);
  return tally;
}

/** Runs this program again where its mounts are nobody else's and end with it. */
async function runInPrivateNamespace(name: string): Promise<Tally> {
  const sudo = process.getuid?.() === 0 ? [] : ["sudo", "-n"];
  const form = values.cycles === undefined ? (values.short ? ["--short"] : []) : ["--cycles", values.cycles];
  const unshare = [...sudo, "unshare", "--mount", "--propagation", "private", "--"];
  const node = [process.execPath, "--disable-warning=ExperimentalWarning"];
  const again = [import.meta.filename, name, "--private-mounts", "--writers", values.writers, "--seed", values.seed];
  const [program = "", ...rest] = [...unshare, ...node, ...again, ...form];
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "inherit"] });
  const kill = (): void => void child.kill("SIGTERM");
  process.once("exit", kill);
  let lastLine = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    process.stdout.write(text);
    lastLine = (lastLine + text).slice(-200);
  });
  await once(child, "close");
  process.removeListener("exit", kill);
  const [, passed, failed] = /(\d+) passed, (\d+) failed\s*$/.exec(lastLine) ?? ["", "0", "1"];
  return { passed: Number(passed), failed: Number(failed) };
}

function chosenSuites(): [string, CrashSuite][] {
  const names = positionals.includes("all") ? Object.keys(SUITES) : positionals;
  return (names.length > 0 ? names : ["kill"]).map((name) => {
    const suite = SUITES[name];
    if (suite === undefined) throw new Error(`no suite ${name}; there are ${Object.keys(SUITES).join(", ")} and all`);
    return [name, suite];
  });
}

const UNSHARE: RequiredProgram = { program: "unshare", packages: ["util-linux"] };

const suites = chosenSuites();
installPrograms(suites.flatMap(([, suite]) => (suite.mounts ? [...suite.programs, UNSHARE] : suite.programs)));
const total: Tally = { passed: 0, failed: 0 };
for (const [name, suite] of suites) {
  const nested = suite.mounts && !values["private-mounts"];
  const tally = nested ? await runInPrivateNamespace(name) : await runSuite(suite);
  total.passed += tally.passed;
  total.failed += tally.failed;
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
