/** `npm run test:model -- --seeds 10000 --from 1`: the model test over many seeds; a failing one is shrunk and printed. */
import { parseArgs } from "node:util";
import { runSeed } from "./run-engine-model.ts";

const { values } = parseArgs({
  options: { seeds: { type: "string", default: "1000" }, from: { type: "string", default: "1" } },
});
const from = Number(values.from);
const to = from + Number(values.seeds);
let passed = 0;
let failed = 0;
for (let seed = from; seed < to; seed += 1) {
  const { failure } = await runSeed(seed);
  if (failure === undefined) passed += 1;
  else failed += 1;
  if (failure !== undefined) console.log(failure);
  if ((passed + failed) % 500 === 0) console.log(`${passed + failed} of ${to - from} seeds, ${failed} failed`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
