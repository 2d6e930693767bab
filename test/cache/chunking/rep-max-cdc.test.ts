import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { gearTable } from "../../../src/cache/chunking/gear-table.ts";
import { RepMaxCdc, type RepMaxCdcParameters } from "../../../src/cache/chunking/rep-max-cdc.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const INPUT = readFileSync(new URL("../vectors/fastcdc2020-input.jpg", import.meta.url));

function cutAll(parameters: RepMaxCdcParameters, bytes: Uint8Array): number[] {
  const rule = new RepMaxCdc(parameters);
  const sizes: number[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = rule.cut(bytes, start, Math.min(bytes.length, start + rule.windowBytes));
    sizes.push(end - start);
    start = end;
  }
  return sizes;
}

/** The bytes of a 64-bit xorshift generator, of each number the lowest. */
function xorShift(sizeBytes: number): Uint8Array {
  let state = 0x9e3779b97f4a7c15n;
  return Uint8Array.from({ length: sizeBytes }, () => {
    state ^= BigInt.asUintN(64, state << 13n);
    state ^= state >> 7n;
    state ^= BigInt.asUintN(64, state << 17n);
    return Number(state & 0xffn);
  });
}

/** The rule word by word: every hash anew, every cut by looking at all places. */
function cutAllSlowly({ minBytes, horizonBytes }: RepMaxCdcParameters, bytes: Uint8Array): number[] {
  const { high, low } = gearTable(0);
  const gear = (byte: number) =>
    (BigInt.asUintN(32, BigInt(high[byte]!)) << 32n) | BigInt.asUintN(32, BigInt(low[byte]!));
  // Of 64 bits, each shifted by one: what is 64 bytes back has no part in it.
  const hashes = [0n];
  for (const byte of bytes) hashes.push(BigInt.asUintN(64, (hashes.at(-1)! << 1n) + gear(byte)));
  const highest = (from: number, to: number): number => {
    let best = from;
    for (let place = from; place <= to; place++) if (hashes[place]! > hashes[best]!) best = place;
    return best;
  };
  const sizes: number[] = [];
  for (let start = 0; start < bytes.length;) {
    const window = Math.min(bytes.length - start, 2 * minBytes + horizonBytes);
    let cut = bytes.length;
    if (window >= 2 * minBytes) {
      cut = highest(start + minBytes, start + window - minBytes);
      while (cut - start >= 2 * minBytes) cut = highest(start + minBytes, cut - minBytes);
    }
    sizes.push(cut - start);
    start = cut;
  }
  return sizes;
}

// Cuts that others have published: of Bazel's test of this function, made with the Go implementation of those who
// proposed it, and of a second implementation in Go.
test.each<[string, RepMaxCdcParameters, Uint8Array, number[]]>([
  [
    "a picture",
    { minBytes: 4096, horizonBytes: 32_768 },
    INPUT,
    [7026, 5198, 5310, 4271, 5278, 5588, 5017, 6761, 5541, 7612, 5501, 4695, 4362, 6221, 7190, 5858, 4382, 8022, 5633],
  ],
  [
    "a picture, without a horizon",
    { minBytes: 8192, horizonBytes: 0 },
    INPUT,
    [...Array.from({ length: 12 }, () => 8192), 11_162],
  ],
  [
    "random bytes, with a small horizon",
    { minBytes: 4096, horizonBytes: 4096 },
    xorShift(96 * 1024),
    [7903, 5898, 4161, 8175, 6783, 7709, 6740, 5682, 5840, 5016, 7719, 7596, 6268, 6569, 6245],
  ],
])("the vectors of %s hold", (_, parameters, bytes, sizes) => {
  expect(cutAll(parameters, bytes)).toEqual(sizes);
});

test("the cuts are those of the rule taken word by word (fast-check prints its seed)", () => {
  const random = seededRandom(testSeed("RepMaxCDC word by word"));
  fc.assert(
    fc.property(
      fc.integer({ min: 64, max: 200 }),
      fc.integer({ min: 0, max: 3000 }),
      fc.integer({ min: 0, max: 6000 }),
      fc.constantFrom(1, 3, 255),
      (minBytes, horizonBytes, sizeBytes, byteMax) => {
        // Of few byte values, so that the same hash occurs in many places.
        const bytes = random.bytes(sizeBytes).map((byte) => byte % (byteMax + 1));
        expect(cutAll({ minBytes, horizonBytes }, bytes)).toEqual(cutAllSlowly({ minBytes, horizonBytes }, bytes));
      },
    ),
    { numRuns: 200 },
  );
});

describe("with chunks from 1 KiB up", () => {
  const parameters = { minBytes: 1024, horizonBytes: 8192 };
  const random = seededRandom(testSeed("RepMaxCDC with chunks from 1 KiB up"));

  test("every chunk has the smallest size and is shorter than twice that", () => {
    for (const size of cutAll(parameters, random.bytes(100_000))) {
      expect(size).toBeGreaterThanOrEqual(1024);
      expect(size).toBeLessThan(2048);
    }
  });

  test.each([1, 1023, 1024, 2047])("%i bytes are one chunk", (sizeBytes) => {
    expect(cutAll(parameters, random.bytes(sizeBytes))).toEqual([sizeBytes]);
  });

  test("bytes put in at the front move the cuts behind them, and do not change them", () => {
    // Always the same bytes: how soon the cuts meet again is chance.
    const fixed = seededRandom("cuts meet again");
    const bytes = fixed.bytes(100_000);
    const ends = (sizes: readonly number[]): Set<number> => {
      let rest = sizes.reduce((sum, size) => sum + size, 0);
      return new Set(sizes.map((size) => (rest -= size)));
    };
    const before = ends(cutAll(parameters, bytes));
    const after = ends(cutAll(parameters, Buffer.concat([fixed.bytes(7), bytes])));
    expect([...after].filter((end) => !before.has(end)).length).toBeLessThan(12);
  });

  test("a smallest size that does not fill the hash is refused", () => {
    expect(() => new RepMaxCdc({ minBytes: 63, horizonBytes: 0 })).toThrow(RangeError);
  });
});
