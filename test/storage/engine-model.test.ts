import { describe, expect, test } from "vitest";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { type ModelMode, runSeed } from "./model/run-engine-model.ts";
import { addFigures, noFigures, type RunFigures } from "./model/run-figures.ts";

/** `npm run test:model -- --seeds 10000` is the long form. */
const SEEDS = 200;
/** The rarest thing to be met, a broken lease, is in one run of 36: in 200 there is none once in 300 times. */
const SEEDS_MAX = 5 * SEEDS;
const FAILED_SYNCS = 100;
const SEED_MAX = 2 ** 30;

async function runSeeds(label: string, mode: ModelMode, isEnough: (done: number, sum: RunFigures) => boolean) {
  const random = seededRandom(testSeed(label));
  const sum = noFigures();
  for (let done = 0; !isEnough(done, sum); done += 1) {
    const { seed, figures, failure } = await runSeed(random.int(1, SEED_MAX), mode);
    addFigures(sum, figures);
    expect(failure, `replay: npm run test:model -- --seed ${seed} --mode "${mode}"`).toBeUndefined();
  }
  return sum;
}

function notMet(figures: RunFigures): string[] {
  return Object.entries(figures).flatMap(([name, figure]) => (figure === 0 ? [name] : []));
}

describe("I1, I2, I6, I7, I9: the engine over a disk that forgets, tears, fails and fills up", () => {
  test("serves what it acknowledged and nothing else, through crashes, damage, eviction and restarts", async () => {
    // What was tried: a model that meets no power cut, no lease and no retirement proves nothing.
    const sum = await runSeeds("engine model", "any", (done, met) => {
      return done >= SEEDS && (notMet(met).length === 0 || done === SEEDS_MAX);
    });
    expect(notMet(sum)).toEqual([]);
  });

  test("H5: acknowledges nothing that a failed sync may have lost", async () => {
    const sum = await runSeeds("failing syncs", "failing syncs", (_, { failedSyncs }) => failedSyncs >= FAILED_SYNCS);
    expect(sum.acknowledged).toBeGreaterThan(FAILED_SYNCS);
    expect(sum.powerCuts).toBeGreaterThan(0);
  });
});
