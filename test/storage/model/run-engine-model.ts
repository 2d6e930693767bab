import fc from "fast-check";
import { commandLists, type EngineCommand, type EngineSetup, failingSyncLists, setups } from "./engine-commands.ts";
import { EngineRun } from "./engine-run.ts";
import { noFigures, type RunFigures } from "./run-figures.ts";

/** `any`: everything that may happen. `failing syncs`: uploads, and syncs that fail. */
export type ModelMode = "any" | "failing syncs";

export interface SeedResult {
  readonly seed: number;
  readonly figures: RunFigures;
  /** The shortest commands that were found to fail, and how; undefined where the seed passed. */
  readonly failure: string | undefined;
}

const LISTS: Record<ModelMode, fc.Arbitrary<EngineCommand[]>> = {
  any: commandLists,
  "failing syncs": failingSyncLists,
};

/** Also for a run that never ends, in which the engine goes on for ever: a run takes a tenth of a second. */
const TIME_MS_MAX = 30_000;

/** One seed: commands, interleaving, and what the disk does. A failure is shrunk. */
export async function runSeed(seed: number, mode: ModelMode = "any"): Promise<SeedResult> {
  const figures = noFigures();
  let isFirst = true;
  // Unbiased: with one run a seed, fast-check would only ever try its smallest values.
  const property = fc.asyncProperty(fc.noBias(setups), fc.noBias(LISTS[mode]), async (setup, commands) => {
    const counted = isFirst ? figures : noFigures();
    isFirst = false;
    await new EngineRun(setup, seed, counted).run(commands);
  });
  const details = await fc.check(property, { seed, numRuns: 1, interruptAfterTimeLimit: TIME_MS_MAX });
  return { seed, figures, failure: details.failed ? report(seed, details) : undefined };
}

function report(seed: number, details: fc.RunDetails<[EngineSetup, EngineCommand[]]>): string {
  const error: unknown = details.errorInstance ?? new Error(`not over after ${TIME_MS_MAX / 1000} s`);
  const [setup, commands = []] = details.counterexample ?? [];
  return [
    `seed ${seed}: ${error instanceof Error ? error.message : String(error)}`,
    `  setup ${JSON.stringify(setup)}`,
    ...commands.map((command) => `  ${JSON.stringify(command)}`),
    `  (${details.numShrinks} times shrunk)`,
    error instanceof Error ? (error.stack ?? "") : "",
  ].join("\n");
}
