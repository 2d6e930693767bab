import { randomInt } from "node:crypto";

/** A fresh seed for each run, or the one of a failed run again, by `KURA_TEST_SEED`. It is printed. */
export function testSeed(label: string): string {
  const seed = process.env["KURA_TEST_SEED"] ?? `${randomInt(2 ** 40)}`;
  console.log(`${label}: KURA_TEST_SEED=${seed}`);
  return seed;
}
