import fc from "fast-check";
import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  CHUNK_BYTES,
  ChunkChecksums,
  chunkCount,
  chunkHolds,
  decodeFooterRow,
  decodeFooterTail,
  decodeRecordHeader,
  decodeSegmentHeader,
  encodeFooter,
  encodeRecordHeader,
  encodeSegmentHeader,
  FOOTER_ROW_BYTES,
  FOOTER_TAIL_BYTES,
  footerTableHolds,
  FORMAT_VERSION,
  type PlacedRecord,
  RECORD_HEADER_BYTES,
  recordBytes,
  recordFootprintBytes,
  recordTrailerBytes,
  SEGMENT_HEADER_BYTES,
} from "../../../src/storage/segment/segment-format.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const uint53 = fc.maxSafeNat();
const uint48 = fc.nat({ max: 2 ** 48 - 1 });
const uint16 = fc.nat({ max: 2 ** 16 - 1 });
const byte = fc.integer({ min: 0, max: 255 });
const segmentHeader = fc.record({
  version: fc.constant(FORMAT_VERSION),
  segmentId: uint32,
  shardIndex: uint32,
  shardCount: uint32,
  createdAtMs: uint53,
  nonce: uint32,
});
const recordHeader = fc.record({
  space: byte,
  encoding: byte,
  sequence: uint48,
  writtenAtMs: uint53,
  sizeBytes: uint53,
  storedBytes: uint53,
  owner: uint16,
  key: fc.uint8Array({ minLength: 32, maxLength: 32 }),
});
const placedRecord = fc.tuple(recordHeader, uint53).map(([header, offset]): PlacedRecord => ({ ...header, offset }));

const SEGMENT_HEADER = {
  version: FORMAT_VERSION,
  segmentId: 7,
  shardIndex: 1,
  shardCount: 2,
  createdAtMs: 3,
  nonce: 9,
};
const RECORD: PlacedRecord = {
  space: 1,
  encoding: 0,
  sequence: 5,
  writtenAtMs: 6,
  sizeBytes: 100,
  storedBytes: 100,
  owner: 0,
  key: Uint8Array.from({ length: 32 }, (_, i) => i),
  offset: 64,
};

/** The bytes changed at one place and their checksum, which stands at the end, made to fit again. */
function tampered(bytes: Buffer, change: (bytes: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  change(copy);
  copy.writeUInt32LE(crc32(copy.subarray(0, -4)), copy.length - 4);
  return copy;
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 0x10;
  return copy;
}

describe("round trips (fast-check prints its seed)", () => {
  test("a segment header is decoded as it was encoded", () => {
    fc.assert(
      fc.property(segmentHeader, (header) => {
        const bytes = encodeSegmentHeader(header);
        expect(bytes).toHaveLength(SEGMENT_HEADER_BYTES);
        expect(decodeSegmentHeader(bytes)).toEqual(header);
      }),
    );
  });

  test("a record header is decoded as it was encoded, with its nonce, also in front of other bytes", () => {
    fc.assert(
      fc.property(recordHeader, uint32, fc.uint8Array({ maxLength: 20 }), (header, nonce, behind) => {
        const bytes = encodeRecordHeader(header, nonce);
        expect(bytes).toHaveLength(RECORD_HEADER_BYTES);
        expect(decodeRecordHeader(Buffer.concat([bytes, behind]))).toEqual({ ...header, nonce });
      }),
    );
  });

  test("a footer is decoded as it was encoded, but for the time of writing", () => {
    fc.assert(
      fc.property(fc.array(placedRecord, { maxLength: 20 }), uint53, uint32, (records, tableOffset, nonce) => {
        const bytes = encodeFooter(records, tableOffset, nonce);
        const footer = decodeFooterTail(bytes.subarray(-FOOTER_TAIL_BYTES));
        const table = bytes.subarray(0, -FOOTER_TAIL_BYTES);
        expect(footer).toMatchObject({ rowCount: records.length, tableOffset, nonce });
        expect(footer?.maxSequence).toBe(Math.max(0, ...records.map(({ sequence }) => sequence)));
        expect(footer !== undefined && footerTableHolds(table, footer)).toBe(true);
        for (const [row, record] of records.entries()) {
          const decoded = decodeFooterRow(table, row);
          expect({ ...decoded, key: Uint8Array.from(decoded.key) }).toEqual({ ...record, writtenAtMs: 0 });
        }
      }),
    );
  });

  test("a record takes a multiple of 8 bytes, and no more than 7 of them are padding", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 * CHUNK_BYTES }), (storedBytes) => {
        const bytes = recordBytes(storedBytes);
        expect(bytes % 8).toBe(0);
        expect(bytes).toBe(RECORD_HEADER_BYTES + storedBytes + recordTrailerBytes(storedBytes));
        const padding = recordTrailerBytes(storedBytes) - 4 * chunkCount(storedBytes);
        expect(padding).toBeGreaterThanOrEqual(0);
        expect(padding).toBeLessThan(8);
        expect(recordFootprintBytes(storedBytes)).toBe(bytes + FOOTER_ROW_BYTES);
      }),
    );
  });
});

describe("a segment header is refused", () => {
  const bytes = encodeSegmentHeader(SEGMENT_HEADER);

  test.each([
    ["with another magic", tampered(bytes, (copy) => copy.write("KURASEG2", 0))],
    ["with a byte set in its first reserved word", tampered(bytes, (copy) => copy.writeUInt8(1, 36))],
    ["with a byte set in its last reserved word", tampered(bytes, (copy) => copy.writeUInt8(1, 59))],
    ["whose checksum is off by one bit", flipped(bytes, 60)],
    ["that lacks its last byte", bytes.subarray(0, -1)],
    ["of no bytes", Buffer.alloc(0)],
    ["of zeros", Buffer.alloc(SEGMENT_HEADER_BYTES)],
  ])("%s", (_, given) => {
    expect(decodeSegmentHeader(given)).toBeUndefined();
  });

  test("wherever one bit of it is flipped", () => {
    for (let at = 0; at < bytes.length; at += 1) expect(decodeSegmentHeader(flipped(bytes, at))).toBeUndefined();
  });

  test("but one of another version is told as such, whatever its reserved bytes hold", () => {
    const newer = tampered(bytes, (copy) => {
      copy.writeUInt32LE(FORMAT_VERSION + 1, 8);
      copy.fill(0xff, 36, 60);
    });
    expect(decodeSegmentHeader(newer)).toMatchObject({ version: FORMAT_VERSION + 1 });
  });
});

describe("a record header is refused", () => {
  const bytes = encodeRecordHeader(RECORD, 9);

  test.each([
    ["with another magic", tampered(bytes, (copy) => copy.write("KREK", 0))],
    ["of version 0", tampered(bytes, (copy) => copy.writeUInt8(0, 4))],
    ["of a later version", tampered(bytes, (copy) => copy.writeUInt8(FORMAT_VERSION + 1, 4))],
    ["whose reserved byte is set", tampered(bytes, (copy) => copy.writeUInt8(1, 7))],
    ["whose size is no safe integer", tampered(bytes, (copy) => copy.writeUInt32LE(0x20_0000, 28))],
    ["whose stored length is no safe integer", tampered(bytes, (copy) => copy.writeUInt32LE(0x20_0000, 36))],
    ["whose checksum is off by one bit", flipped(bytes, 76)],
    ["that lacks its last byte", bytes.subarray(0, -1)],
    ["of zeros", Buffer.alloc(RECORD_HEADER_BYTES)],
  ])("%s", (_, given) => {
    expect(decodeRecordHeader(given)).toBeUndefined();
  });

  test("wherever one bit of it is flipped", () => {
    for (let at = 0; at < bytes.length; at += 1) expect(decodeRecordHeader(flipped(bytes, at))).toBeUndefined();
  });
});

describe("format version 1", () => {
  test("is read: nobody owns what is in it", () => {
    const bytes = tampered(encodeRecordHeader(RECORD, 9), (copy) => copy.writeUInt8(1, 4));
    expect(decodeRecordHeader(bytes)).toEqual({ ...RECORD, offset: undefined, nonce: 9 });
    const header = { ...SEGMENT_HEADER, version: 1 };
    expect(decodeSegmentHeader(encodeSegmentHeader(header))).toEqual(header);
  });

  test("has reserved bytes in its segment header too", () => {
    const bytes = encodeSegmentHeader({ ...SEGMENT_HEADER, version: 1 });
    expect(decodeSegmentHeader(tampered(bytes, (copy) => copy.writeUInt8(1, 36)))).toBeUndefined();
  });
});

describe("a footer is refused", () => {
  const bytes = encodeFooter([RECORD, { ...RECORD, offset: 280, sequence: 4 }], 500, 9);
  const tail = bytes.subarray(-FOOTER_TAIL_BYTES);
  const table = bytes.subarray(0, -FOOTER_TAIL_BYTES);

  test.each([
    ["with another magic", tampered(tail, (copy) => copy.write("KURAF00T", 0))],
    ["whose checksum is off by one bit", flipped(tail, 36)],
    ["that lacks its first byte", tail.subarray(1)],
    ["with a byte before it", bytes.subarray(-FOOTER_TAIL_BYTES - 1)],
    ["of zeros", Buffer.alloc(FOOTER_TAIL_BYTES)],
  ])("%s", (_, given) => {
    expect(decodeFooterTail(given)).toBeUndefined();
  });

  test("wherever one bit of its tail is flipped", () => {
    for (let at = 0; at < tail.length; at += 1) expect(decodeFooterTail(flipped(tail, at))).toBeUndefined();
  });

  test("wherever one bit of its table is flipped, and if the table has another length", () => {
    const footer = decodeFooterTail(tail);
    if (footer === undefined) throw new Error("the footer is good");
    expect(footerTableHolds(table, footer)).toBe(true);
    for (let at = 0; at < table.length; at += 1) expect(footerTableHolds(flipped(table, at), footer)).toBe(false);
    expect(footerTableHolds(table.subarray(FOOTER_ROW_BYTES), footer)).toBe(false);
    expect(footerTableHolds(Buffer.concat([table, table]), footer)).toBe(false);
    expect(footerTableHolds(table, { ...footer, rowCount: footer.rowCount + 1 })).toBe(false);
  });
});

describe("ChunkChecksums", () => {
  const random = seededRandom(testSeed("ChunkChecksums"));

  test.each([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7])(
    "of %i bytes do not depend on how the payload is cut",
    (sizeBytes) => {
      const payload = random.bytes(sizeBytes);
      const whole = new ChunkChecksums();
      whole.update(payload);
      const trailer = whole.trailer(sizeBytes);
      expect(trailer).toHaveLength(recordTrailerBytes(sizeBytes));
      expect(chunkCount(sizeBytes)).toBe(Math.max(1, Math.ceil(sizeBytes / CHUNK_BYTES)));
      for (let chunk = 0; chunk < chunkCount(sizeBytes); chunk += 1) {
        const bytes = payload.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES);
        expect(trailer.readUInt32LE(chunk * 4)).toBe(crc32(bytes));
        expect(chunkHolds(bytes, trailer, chunk)).toBe(true);
      }
      for (let round = 0; round < 5; round += 1) {
        const cut = new ChunkChecksums();
        const pieceBytesMax = random.pick([1000, 65_536, CHUNK_BYTES, 2 * CHUNK_BYTES]);
        for (let at = 0; at < sizeBytes;) {
          const take = random.int(0, pieceBytesMax);
          cut.update(payload.subarray(at, at + take));
          at += take;
        }
        expect(cut.trailer(sizeBytes)).toEqual(trailer);
      }
    },
  );

  test("see one flipped bit in any chunk", () => {
    const payload = random.bytes(2 * CHUNK_BYTES + 100);
    const checksums = new ChunkChecksums();
    checksums.update(payload);
    const trailer = checksums.trailer(payload.length);
    for (const chunk of [0, 1, 2]) {
      const bytes = payload.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES);
      expect(chunkHolds(flipped(bytes, random.int(0, bytes.length - 1)), trailer, chunk)).toBe(false);
    }
  });
});
