import { expect, test } from "vitest";
import { runSeed } from "./model/run-engine-model.ts";

/** Fixed, so that a red run is red again; `npm run test:model` goes on to seeds that nobody has seen. */
const SEED_COUNT = 60;

test("the engine keeps its promises over a simulated disk that crashes, tears, fails and fills up", async () => {
  for (let seed = 1; seed <= SEED_COUNT; seed += 1) {
    const { failure } = await runSeed(seed);
    expect(failure).toBeUndefined();
  }
});

test("no upload is acknowledged whose sync failed", async () => {
  for (let seed = 1; seed <= SEED_COUNT; seed += 1) {
    const { failure } = await runSeed(seed, "failing syncs");
    expect(failure).toBeUndefined();
  }
});
