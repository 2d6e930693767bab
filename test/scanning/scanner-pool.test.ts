import { describe, expect, test } from "vitest";
import { ContentScan, type ScanRequest, type ScanResult } from "../../src/cache/chunking/content-scan.ts";
import { ScannerPool } from "../../src/scanning/scanner-pool.ts";
import { expectCode } from "../contract/entry-store-contract.ts";
import { SMALL_CHUNKS } from "../support/chunked-store.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const random = seededRandom(testSeed("ScannerPool"));

function requestOf(bytes: Uint8Array): ScanRequest {
  return { fn: "blake3", sizeBytes: bytes.length, wantsHash: true, chunking: SMALL_CHUNKS };
}

async function* piecesOf(bytes: Uint8Array, pieceBytes = 200_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

function scanHere(bytes: Uint8Array): ScanResult {
  const scan = new ContentScan(requestOf(bytes));
  scan.update(bytes);
  return scan.finish();
}

describe("ScannerPool", () => {
  test("gives what a scan in this thread gives, for many at once and of every size", async () => {
    await using pool = new ScannerPool();
    const contents = [0, 1, 1024 * 1024, 1024 * 1024 + 1, 3_000_000, 10, 20, 30, 40].map((size) => random.bytes(size));
    const results = await Promise.all(contents.map((bytes) => pool.scan(piecesOf(bytes), requestOf(bytes))));
    expect(results).toEqual(contents.map(scanHere));
  });

  test("goes on after a content that fails and after a call that is cancelled", async () => {
    await using pool = new ScannerPool();
    const bytes = random.bytes(3_000_000);
    const failing = async function* (): AsyncGenerator<Uint8Array> {
      yield* piecesOf(bytes);
      throw new Error("the disk is gone");
    };
    await expect(pool.scan(failing(), requestOf(bytes))).rejects.toThrow("the disk is gone");
    const aborted = AbortSignal.abort();
    await expectCode("cancelled", () => pool.scan(piecesOf(bytes), requestOf(bytes), aborted));
    expect(await pool.scan(piecesOf(bytes), requestOf(bytes))).toEqual(scanHere(bytes));
  });

  test("refuses what is past its bound, and takes it later", async () => {
    await using pool = new ScannerPool();
    const bytes = random.bytes(100);
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const held = async function* (): AsyncGenerator<Uint8Array> {
      await gate;
      yield bytes;
    };
    const scans = Array.from({ length: 4 + 64 }, () => pool.scan(held(), requestOf(bytes)));
    await expectCode("resource_exhausted", () => pool.scan(held(), requestOf(bytes)));
    open();
    expect(await Promise.all(scans)).toEqual(scans.map(() => scanHere(bytes)));
    expect(await pool.scan(held(), requestOf(bytes))).toEqual(scanHere(bytes));
  });
});
