import { describe, test } from "vitest";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { FrameTarget } from "./frame-target.ts";
import type { FuzzTarget } from "./fuzz-target.ts";
import { HpackTarget } from "./hpack-target.ts";

/** The short form of `npm run test:fuzz`. */
async function fuzz(target: FuzzTarget, name: string, runs: number): Promise<void> {
  const first = seededRandom(testSeed(name)).int(0, 2 ** 31);
  for (let seed = first; seed < first + runs; seed++) {
    await target.run(seed).catch((cause: unknown) => {
      throw new Error(`npm run test:fuzz -- ${name} --seed ${seed} --runs 1`, { cause });
    });
  }
}

describe("whatever a client sends", () => {
  test("a connection keeps its promises to those who answer, its bounds, and what it owes the client", async () => {
    await fuzz(new FrameTarget(), "frames", 100);
  });

  test("header blocks mean what RFC 7541 says", async () => {
    await fuzz(new HpackTarget(), "hpack", 500);
  });
});
