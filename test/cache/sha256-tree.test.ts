import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Sha256Tree } from "../../src/cache/sha256-tree.ts";

/** Lengths with their hashes, of the bytes 0, 1, ... 250, 0, 1, ... */
const VECTORS = readFileSync(new URL("vectors/sha256tree.txt", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line): [number, string] => {
    const [length = "", hex = ""] = line.split("\t");
    return [Number(length), hex];
  });

function pattern(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => i % 251));
}

function treeOf(...pieces: Uint8Array[]): string {
  const tree = new Sha256Tree();
  for (const piece of pieces) tree.update(piece);
  return Buffer.from(tree.digest()).toString("hex");
}

test("the file of vectors has some", () => {
  expect(VECTORS).toHaveLength(18);
});

test.each(VECTORS)("the vector of %i bytes holds, in one piece and in many", (length, expected) => {
  const bytes = pattern(length);
  expect(treeOf(bytes)).toBe(expected);
  expect(
    treeOf(
      ...bytes
        .toString("latin1")
        .match(/[^]{1,100}/g)!
        .map((piece) => Buffer.from(piece, "latin1")),
    ),
  ).toBe(expected);
});

describe("up to 1 KiB", () => {
  test.each([0, 1, 63, 64, 1023, 1024])("%i bytes have their plain SHA-256", (length) => {
    expect(treeOf(pattern(length))).toBe(hash("sha256", pattern(length)));
  });
});

test("how the bytes are cut into pieces makes no difference (fast-check prints its seed)", () => {
  const bytes = pattern(70_000);
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: bytes.length }),
      fc.array(fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.constantFrom(0, 1, 1023, 1024, 1025, 2048, 4096))),
      (length, sizes) => {
        const pieces: Buffer[] = [];
        let at = 0;
        for (const size of [...sizes, length]) {
          const end = Math.min(length, at + size);
          pieces.push(bytes.subarray(at, end));
          at = end;
        }
        expect(treeOf(...pieces)).toBe(treeOf(bytes.subarray(0, length)));
      },
    ),
  );
});
