import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { contentHashOf, createContentHash, hashMismatch } from "../../src/cache/content-hash.ts";
import { DIGEST_FUNCTIONS, type DigestFunctionName } from "../../src/cache/digest.ts";
import { digestFunctionOfSpace, hashKeyBytes } from "../../src/cache/entry-key.ts";

const FUNCTIONS = Object.keys(DIGEST_FUNCTIONS) as DigestFunctionName[];
const HELLO = Buffer.from("hello\n");

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** The input of BLAKE3's own vectors. */
function pattern(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => i % 251));
}

describe.each(FUNCTIONS)("%s", (fn) => {
  const { hashBytes, emptyHash, number } = DIGEST_FUNCTIONS[fn];

  test("has the stated length, and the stated hash of the empty blob", () => {
    expect(hex(contentHashOf(fn, []))).toBe(emptyHash);
    expect(hex(createContentHash(fn, 0).digest())).toBe(emptyHash);
    expect(contentHashOf(fn, [HELLO])).toHaveLength(hashBytes);
  });

  test("is told by its key space", () => {
    expect(digestFunctionOfSpace(number)).toBe(fn);
  });

  test("pieces hash as the whole does, also while another hash is under way (fast-check prints its seed)", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 6 }), (pieces) => {
        const whole = Buffer.concat(pieces);
        const running = createContentHash(fn, whole.length);
        const other = createContentHash(fn, whole.length * 2);
        for (const piece of pieces) {
          running.update(piece);
          other.update(piece);
          other.update(piece);
        }
        expect(hex(running.digest())).toBe(hex(contentHashOf(fn, [whole])));
        expect(hex(other.digest())).toBe(
          hex(
            contentHashOf(
              fn,
              pieces.flatMap((piece) => [piece, piece]),
            ),
          ),
        );
      }),
    );
  });

  test("a mismatch says what was got, and what was expected where the key tells", () => {
    const got = contentHashOf(fn, [HELLO]);
    const other = contentHashOf(fn, [Buffer.from("other")]);
    expect(hashMismatch(hashKeyBytes(got), got, 6)).toBeUndefined();
    expect(hashMismatch(hashKeyBytes(other), got, 6)).toBe(
      `hash: expected ${hashBytes > 32 ? "another" : hex(other)}, got ${hex(got)} of 6 bytes`,
    );
  });
});

test.each<[DigestFunctionName, string]>([
  ["md5", "b1946ac92492d2347c6235b4d2611184"],
  ["sha1", "f572d396fae9206628714fb2ce00f72e94f2258f"],
  ["sha256", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"],
  ["sha256tree", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"],
  // `git hash-object`
  ["gitsha1", "ce013625030ba8dba906f756967f9e9ca394464a"],
])("%s of a known text", (fn, expected) => {
  expect(hex(contentHashOf(fn, [HELLO]))).toBe(expected);
});

test.each(["sha384", "sha512"] as const)("%s is that of node:crypto", (fn) => {
  expect(hex(contentHashOf(fn, [HELLO]))).toBe(createHash(fn).update(HELLO).digest("hex"));
});

test.each([
  [1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"],
  [1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"],
  [1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"],
  [102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"],
])("BLAKE3 of its published vector of %i bytes", (length, expected) => {
  expect(hex(contentHashOf("blake3", [pattern(length)]))).toBe(expected);
});

test("a key space without a function is refused", () => {
  expect(() => digestFunctionOfSpace(4)).toThrow(RangeError);
});
