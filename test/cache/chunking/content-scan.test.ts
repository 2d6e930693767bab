import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Chunking } from "../../../src/cache/chunking/chunking.ts";
import { ContentScan, type ScanResult } from "../../../src/cache/chunking/content-scan.ts";
import { DIGEST_FUNCTIONS, type DigestFunctionName } from "../../../src/cache/digest.ts";
import { digestOf } from "../../support/cas-content.ts";
import { SMALL_CHUNKS, SMALL_MAX_CHUNKS } from "../../support/chunked-store.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const chunking = SMALL_CHUNKS;
const bytes = seededRandom(testSeed("ContentScan")).bytes(60_000);

function scan(pieces: readonly Uint8Array[], fn: DigestFunctionName, wanted: Chunking | undefined): ScanResult {
  const sizeBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const running = new ContentScan({ fn, sizeBytes, wantsHash: true, chunking: wanted });
  for (const piece of pieces) running.update(piece);
  return running.finish();
}

describe.each(Object.keys(DIGEST_FUNCTIONS) as DigestFunctionName[])("under %s", (fn) => {
  test("the hash is that of all pieces, and each chunk has the digest of its bytes", () => {
    const { hash, chunks } = scan([bytes], fn, chunking);
    expect(hash).toBe(digestOf(bytes, fn).hash);
    expect(chunks.length).toBeGreaterThan(10);
    let offset = 0;
    for (const chunk of chunks) {
      expect(chunk).toEqual(digestOf(bytes.subarray(offset, offset + chunk.sizeBytes), fn));
      offset += chunk.sizeBytes;
    }
    expect(offset).toBe(bytes.length);
  });
});

test.each([
  ["FastCDC 2020", SMALL_CHUNKS],
  ["RepMaxCDC", SMALL_MAX_CHUNKS],
])("%s: how the bytes are cut into pieces makes no difference (fast-check prints its seed)", (_, wanted) => {
  const expected = scan([bytes], "sha256", wanted);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: bytes.length })), (places) => {
      const bounds = [0, ...places.toSorted((a, b) => a - b), bytes.length];
      const pieces = bounds.slice(1).map((end, index) => bytes.subarray(bounds[index], end));
      expect(scan(pieces, "sha256", wanted)).toEqual(expected);
    }),
  );
});

test("no chunks and no hash are made where none are wanted", () => {
  expect(scan([bytes], "sha256", undefined).chunks).toEqual([]);
  const running = new ContentScan({ fn: "sha256", sizeBytes: 1, wantsHash: false, chunking });
  running.update(Buffer.of(1));
  expect(running.finish()).toEqual({ hash: undefined, chunks: [digestOf(Buffer.of(1))] });
});
