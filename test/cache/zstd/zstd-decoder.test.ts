import { constants, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { CacheError } from "../../../src/cache/cache-error.ts";
import { decodeZstd, ZstdDecoder } from "../../../src/cache/zstd/zstd-decoder.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { SKIPPABLE_FRAME, textOf } from "../../support/zstd-data.ts";

const KIB = 1024;
const random = seededRandom(testSeed("zstd decoder"));

function inPieces(bytes: Buffer, pieceBytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  return pieces;
}

function expectInvalid(data: Buffer, sizeBytes: number, reason: string | RegExp): void {
  for (const pieceBytes of [1, 7, data.length]) {
    let thrown: unknown;
    try {
      decodeZstd(inPieces(data, pieceBytes), sizeBytes);
    } catch (error) {
      thrown = error;
    }
    expect(thrown, `in pieces of ${pieceBytes}`).toBeInstanceOf(CacheError);
    expect((thrown as CacheError).code).toBe("invalid_argument");
    expect((thrown as CacheError).message).toMatch(reason);
  }
}

describe("what is valid", () => {
  const sizes = [1, 2, 255, 256, 257, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 300_000, 3_000_000];

  test.each(sizes)("%i bytes come back, whatever the pieces and however they compress", (sizeBytes) => {
    for (const bytes of [random.bytes(sizeBytes), textOf(random, sizeBytes), Buffer.alloc(sizeBytes)]) {
      for (const checksum of [0, 1]) {
        const data = zstdCompressSync(bytes, { params: { [constants.ZSTD_c_checksumFlag]: checksum } });
        for (const pieceBytes of sizeBytes > 300_000 ? [4096, data.length] : [1, 5, 4096, data.length]) {
          expect(decodeZstd(inPieces(data, pieceBytes), sizeBytes).equals(bytes)).toBe(true);
        }
      }
    }
  });

  test("frames that follow each other are one value, with skippable ones and empty ones anywhere", () => {
    const parts = [textOf(random, 1000), random.bytes(70_000), Buffer.alloc(0), Buffer.alloc(200_000)];
    const data = Buffer.concat([
      SKIPPABLE_FRAME,
      ...parts.flatMap((part) => [zstdCompressSync(part), SKIPPABLE_FRAME]),
      Buffer.from("502a4d1800000000", "hex"),
    ]);
    const bytes = Buffer.concat(parts);
    for (const pieceBytes of [1, 2, 3, 4, 5, 6, 7, 64 * KIB, data.length]) {
      expect(decodeZstd(inPieces(data, pieceBytes), bytes.length).equals(bytes), `pieces of ${pieceBytes}`).toBe(true);
    }
  });

  test("a decoder that failed spoils nothing for the next", () => {
    const bytes = textOf(random, 10_000);
    const data = zstdCompressSync(bytes);
    for (let i = 0; i < 3; i += 1) {
      expect(() => decodeZstd([data.subarray(0, 50)], bytes.length)).toThrow(CacheError);
      expect(() => decodeZstd([data], bytes.length - 1)).toThrow(CacheError);
      expect(() => decodeZstd([Buffer.from(data).fill(0xff, 20, 40)], bytes.length)).toThrow(CacheError);
      expect(decodeZstd([data], bytes.length).equals(bytes)).toBe(true);
    }
  });
});

describe("what is refused", () => {
  const bytes = textOf(random, 20_000);
  const data = zstdCompressSync(bytes, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });

  test("data that is cut off anywhere", () => {
    for (const end of [1, 3, 4, 5, 6, 100, data.length - 5, data.length - 4, data.length - 1]) {
      expectInvalid(data.subarray(0, end), bytes.length, /rest of a frame/);
    }
    expectInvalid(Buffer.concat([data, SKIPPABLE_FRAME.subarray(0, -1)]), bytes.length, /rest of a frame/);
    expect(() => decodeZstd([], bytes.length)).toThrow(/got 0/);
  });

  test("anything behind a frame that is none", () => {
    expectInvalid(Buffer.concat([data, Buffer.from("?")]), bytes.length, /rest of a frame/);
    expectInvalid(Buffer.concat([data, Buffer.from("garbage")]), bytes.length, /expected a frame/);
    expectInvalid(Buffer.concat([data, Buffer.alloc(100)]), bytes.length, /expected a frame/);
  });

  test("another size", () => {
    expectInvalid(data, bytes.length + 1, /got 20000/);
    expectInvalid(data, bytes.length - 1, /got more/);
    expectInvalid(Buffer.concat([data, data]), bytes.length, /got more/);
  });

  test("bytes that are no zstd data, or not intact", () => {
    expectInvalid(random.bytes(1000).fill(0, 0, 4), 1000, /expected a frame/);
    expectInvalid(Buffer.from(data).fill(0, data.length - 4), bytes.length, /./);
    const reservedBlock = Buffer.from(zstdCompressSync(Buffer.alloc(10)));
    reservedBlock[6] = reservedBlock[6]! | 6;
    expectInvalid(reservedBlock, 10, /reserved/);
  });

  test("a frame that asks for a window of more than 16 MiB", () => {
    // A window descriptor of 32 MiB in front of a raw block.
    const wide = Buffer.from("28b52ffd0078090000ff", "hex");
    expectInvalid(wide, 1, /window of at most 16777216 bytes, got 33554432/);
    // The same of a frame that is one segment of so many bytes and a byte.
    expectInvalid(Buffer.from("28b52ffda001000001", "hex"), 1, /window of at most 16777216 bytes, got 16777217/);
    const just = zstdCompressSync(bytes, {
      params: { [constants.ZSTD_c_windowLog]: 24, [constants.ZSTD_c_contentSizeFlag]: 0 },
    });
    expect(decodeZstd([just], bytes.length).equals(bytes)).toBe(true);
  });

  test("a bomb stops one byte past the size, in parts that stay small", () => {
    const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * KIB));
    using decoder = new ZstdDecoder(1_000_000);
    let decodedBytes = 0;
    const decode = (): void => {
      for (const part of decoder.decode(bomb)) {
        expect(part.length).toBeLessThanOrEqual(128 * KIB);
        decodedBytes += part.length;
      }
    };
    expect(decode).toThrow(/expected it to decode to 1000000 bytes, got more/);
    expect(decodedBytes).toBeLessThanOrEqual(1_000_000);
  });
});
