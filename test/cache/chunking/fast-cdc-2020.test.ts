import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { FastCdc2020, fastCdcSizes } from "../../../src/cache/chunking/fast-cdc-2020.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

interface Cut {
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
}

const vectorFile = (name: string): Buffer => readFileSync(new URL(`../vectors/${name}`, import.meta.url));
const INPUT = vectorFile("fastcdc2020-input.jpg");

function cutsUnder(seed: number): Cut[] {
  const [, section = ""] = vectorFile("fastcdc2020.txt").toString().split(`# Seed: ${seed}\n`);
  return section
    .split("\n# Seed")[0]!
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [offset, length, sha256 = ""] = line.split("\t");
      return { offset: Number(offset), length: Number(length), sha256 };
    });
}

function cutAll(rule: FastCdc2020, bytes: Uint8Array): Cut[] {
  const cuts: Cut[] = [];
  for (let offset = 0; offset < bytes.length;) {
    const end = rule.cut(bytes, offset, Math.min(bytes.length, offset + rule.windowBytes));
    cuts.push({ offset, length: end - offset, sha256: hash("sha256", bytes.subarray(offset, end)) });
    offset = end;
  }
  return cuts;
}

test("the input is that of the vectors", () => {
  expect(hash("sha256", INPUT)).toBe("d9e749d9367fc908876749d6502eb212fee88c9a94892fb07da5ef3ba8bc39ed");
});

test.each([0, 666])("the vectors of seed %i hold", (seed) => {
  const cuts = cutsUnder(seed);
  expect(cuts.length).toBeGreaterThan(3);
  expect(cutAll(new FastCdc2020({ minBytes: 4096, avgBytes: 16_384, maxBytes: 65_535 }, seed), INPUT)).toEqual(cuts);
});

describe.each([1024, 65_536, 1024 * 1024])("with an average of %i bytes", (avgBytes) => {
  const sizes = fastCdcSizes({ avgBytes, seed: 0 });
  const rule = new FastCdc2020(sizes, 0);
  const random = seededRandom(testSeed(`FastCDC with an average of ${avgBytes}`));

  test("chunks stay within their bounds and come close to the average", () => {
    const cuts = cutAll(rule, random.bytes(40 * avgBytes));
    for (const { length } of cuts.slice(0, -1)) {
      expect(length).toBeGreaterThanOrEqual(sizes.minBytes);
      expect(length).toBeLessThanOrEqual(sizes.maxBytes);
    }
    expect(cuts.length).toBeGreaterThan(20);
    expect(cuts.length).toBeLessThan(80);
  });

  test("bytes without any cut are cut at the largest size", () => {
    expect(cutAll(rule, Buffer.alloc(9 * avgBytes)).map(({ length }) => length)).toEqual([
      sizes.maxBytes,
      sizes.maxBytes,
      avgBytes,
    ]);
  });

  test("bytes put in at the front move the cuts behind them, and do not change them", () => {
    // Always the same bytes: how soon the cuts meet again is chance, and in 2 of 10,000 random cases it is after 12 chunks.
    const fixed = seededRandom("cuts meet again");
    const bytes = fixed.bytes(40 * avgBytes);
    const before = new Set(cutAll(rule, bytes).map(({ sha256 }) => sha256));
    const after = cutAll(rule, Buffer.concat([fixed.bytes(7), bytes]));
    expect(after.filter(({ sha256 }) => !before.has(sha256)).length).toBeLessThan(12);
  });
});
