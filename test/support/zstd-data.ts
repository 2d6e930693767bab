import { type CasContent, contentOf } from "./cas-content.ts";
import type { SeededRandom } from "./seeded-random.ts";

/** Four bytes that mean nothing, in a frame that says so. */
export const SKIPPABLE_FRAME = Buffer.from("5d2a4d180400000001020304", "hex");

/** Bytes that compress to about half of their size. */
export function textOf(random: SeededRandom, sizeBytes: number): Buffer {
  return Buffer.from(
    random
      .bytes(Math.ceil(sizeBytes / 2))
      .toString("hex")
      .slice(0, sizeBytes),
    "latin1",
  );
}

export function textContent(random: SeededRandom, sizeBytes: number): CasContent {
  return contentOf(textOf(random, sizeBytes));
}
