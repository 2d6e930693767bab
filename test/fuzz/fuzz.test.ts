import { describe, test } from "vitest";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { ActionResultTarget } from "./action-result-target.ts";
import { FrameTarget } from "./frame-target.ts";
import type { FuzzTarget } from "./fuzz-target.ts";
import { HpackTarget } from "./hpack-target.ts";
import { NameTarget } from "./name-target.ts";
import { ZstdTarget } from "./zstd-target.ts";

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

  test("zstd data means what node's decoder says of each of its frames, and never expands past what was promised", async () => {
    await fuzz(new ZstdTarget(), "zstd", 500);
  });

  test("a resource name is refused or has one form", async () => {
    await fuzz(new NameTarget(), "names", 100);
  });

  test("an action result is a hit, a miss or a refusal", async () => {
    await fuzz(new ActionResultTarget(), "actions", 300);
  });
});
