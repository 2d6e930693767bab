/**
 * `npm run test:abuse -- [part of a name...] [--seed S]`: what hostile and hopeless clients do to a real server process
 * (HAZARDS H13 to H16), while one client does its work. A name picks the attacks that have it in theirs; without one, all.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { scenario } from "../crash/scenario.ts";
import { ATTACK_COLUMNS, runAttack } from "./attack-run.ts";
import { type Attack, ATTACKS } from "./attacks.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: "string", default: `${randomInt(2 ** 40)}` } },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const NAME_WIDTH = 46;

function printRow(name: string, cells: readonly (number | string)[]): void {
  const texts = cells.map((cell) => (typeof cell === "number" ? `${Math.round(cell)}` : cell).padStart(10));
  console.log(name.padEnd(NAME_WIDTH) + texts.join(""));
}

const chosen = ATTACKS.filter(
  ({ name }) => positionals.length === 0 || positionals.some((part) => name.includes(part)),
);
/** Those that take minutes have nothing to do but to wait: the others go on meanwhile. */
const LONG_MS = 60_000;

let [passed, failed] = [0, 0];

async function attackAndPrint(attack: Attack): Promise<void> {
  const name = `${attack.attackerCount} ${attack.name}`;
  const run = await scenario(name, (findings) => runAttack(attack, values.seed, findings), ATTACK_COLUMNS.length);
  printRow(run.name, [...run.figures, run.problems.length]);
  for (const problem of run.problems.slice(0, 10)) console.log(`  BAD ${problem}`);
  if (run.problems.length === 0) passed++;
  else failed++;
}

printRow(`attack, --seed ${values.seed}`, [...ATTACK_COLUMNS, "bad"]);
const long = Promise.all(chosen.filter(({ deadlineMs }) => deadlineMs >= LONG_MS).map(attackAndPrint));
for (const attack of chosen.filter(({ deadlineMs }) => deadlineMs < LONG_MS)) await attackAndPrint(attack);
await long;
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
