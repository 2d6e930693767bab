/** `npm run test:model -- --seeds 10000 --from 1 --mode any`: see run-engine-model.ts. `--seed S` replays one. */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { addFigures, noFigures, type RunFigures } from "./run-figures.ts";
import { type ModelMode, runSeed } from "./run-engine-model.ts";

const MODES: readonly ModelMode[] = ["any", "failing syncs"];
const PROGRESS_SEEDS = 250;

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: `${randomInt(2 ** 30)}` },
    seed: { type: "string" },
    mode: { type: "string", default: "any" },
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const mode = MODES.find((known) => known === values.mode);
if (mode === undefined) throw new RangeError(`--mode: expected one of ${MODES.join(", ")}, got ${values.mode}`);
const from = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;

function show(figures: RunFigures): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}

console.log(`${count} seeds from ${from}, mode ${mode}`);
const startMs = performance.now();
const sum = noFigures();
let failed = 0;
for (let done = 0; done < count;) {
  const { seed, figures, failure } = await runSeed(from + done, mode);
  done += 1;
  addFigures(sum, figures);
  if (failure !== undefined) {
    failed += 1;
    console.log(`${failure}\nreplay: npm run test:model -- --seed ${seed} --mode "${mode}"`);
  }
  if (done % PROGRESS_SEEDS === 0) {
    const msPerSeed = (performance.now() - startMs) / done;
    console.log(`${done} of ${count}: ${failed} failed, ${msPerSeed.toFixed(1)} ms a seed`);
  }
}
console.log(show(sum));
console.log(`${count - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
