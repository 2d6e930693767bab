/**
 * `npm run test:abuse -- [part of a name...] [--without NAME]... [--lanes N] [--rounds N] [--seed S]`: what hostile and hopeless
 * clients do to a real server process (HAZARDS H13 to H16), while one client does its work. A name picks the attacks that have
 * it in theirs; without one, all, but for those that have a name of `--without`.
 * So many lanes go on side by side, each attack with a server of its own; without the option, one. So many rounds of calm and
 * attack that server sees; without the option, one.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { scenario } from "../crash/scenario.ts";
import { installPrograms } from "../support/debian-packages.ts";
import type { AttackPlan } from "./attack-plan.ts";
import { ATTACK_COLUMNS, FRAME_ATTACKS, runAttack } from "./attack-run.ts";
import { OWN_NETWORK_PROGRAMS, runInOwnNetwork } from "./own-network.ts";
import { SLOW_HTTP_ATTACKS, SLOW_HTTP_PROGRAM } from "./slow-http-attacks.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    without: { type: "string", multiple: true, default: [] },
    lanes: { type: "string", default: "1" },
    rounds: { type: "string", default: "1" },
    seed: { type: "string", default: `${randomInt(2 ** 40)}` },
    /** Said by this program to itself. */
    "in-own-network": { type: "boolean", default: false },
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

if (!values["in-own-network"]) {
  installPrograms([...OWN_NETWORK_PROGRAMS, SLOW_HTTP_PROGRAM]);
  process.exit(await runInOwnNetwork(import.meta.filename, [...process.argv.slice(2), "--in-own-network"]));
}

const NAME_WIDTH = 46;

function printRow(name: string, cells: readonly (number | string)[]): void {
  const texts = cells.map((cell) => (typeof cell === "number" ? `${Math.round(cell)}` : cell).padStart(10));
  console.log(name.padEnd(NAME_WIDTH) + texts.join(""));
}

const chosen = [...FRAME_ATTACKS, ...SLOW_HTTP_ATTACKS].filter(
  ({ name }) =>
    (positionals.length === 0 || positionals.some((part) => name.includes(part))) &&
    !values.without.some((left) => name.includes(left)),
);
/** Those that take minutes have nothing to do but to wait: they have a lane each. */
const LONG_MS = 60_000;

const options = { seed: values.seed, rounds: Number(values.rounds) };
let [passed, failed] = [0, 0];

async function attackAndPrint(attack: AttackPlan): Promise<void> {
  const name = `${attack.attackerCount} ${attack.name}`;
  const run = await scenario(name, (findings) => runAttack(attack, options, findings), ATTACK_COLUMNS.length);
  printRow(run.name, [...run.figures, run.problems.length]);
  for (const problem of run.problems.slice(0, 10)) console.log(`  BAD ${problem}`);
  if (run.problems.length === 0) passed++;
  else failed++;
}

printRow(`attack, --seed ${values.seed}`, [...ATTACK_COLUMNS, "bad"]);
const long = Promise.all(chosen.filter(({ deadlineMs }) => deadlineMs >= LONG_MS).map(attackAndPrint));
const short = chosen.filter(({ deadlineMs }) => deadlineMs < LONG_MS).values();
const lane = async (): Promise<void> => {
  for (const attack of short) await attackAndPrint(attack);
};
await Promise.all([long, ...Array.from({ length: Number(values.lanes) }, lane)]);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
