import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { crc32 } from "node:zlib";
import { hash } from "node:crypto";
import { nodeFileSystem } from "../../../src/storage/file-system.ts";
import { segmentPath } from "../../../src/storage/segment/segment-file.ts";
import {
  ChunkChecksums,
  encodeFooter,
  encodeRecordHeader,
  FORMAT_VERSION,
  type PlacedRecord,
  RECORD_HEADER_BYTES,
  recordBytes,
  SEGMENT_HEADER_BYTES,
} from "../../../src/storage/segment/segment-format.ts";
import {
  type RecoveredSegment,
  recoverSegment,
  UnknownFormatVersionError,
} from "../../../src/storage/segment/segment-recovery.ts";
import { SegmentWriter } from "../../../src/storage/segment/segment-writer.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";

const random = seededRandom(testSeed("segment recovery"));
let directory: TemporaryDirectory;
let nextSegmentId = 1;

beforeAll(async () => {
  directory = await makeTemporaryDirectory("recovery");
});
afterAll(() => directory[Symbol.asyncDispose]());

/** A segment on disk and what was written to it. */
interface WrittenSegment {
  readonly path: string;
  readonly bytes: Buffer;
  readonly records: readonly PlacedRecord[];
  readonly payloads: readonly Buffer[];
  readonly nonce: number;
  /** Where the records end and the footer starts, if there is one. */
  readonly endOffset: number;
}

/** @param seal Whether it gets its footer. @param nonce As the writer would draw it at random. */
function writeSegment(payloads: readonly Buffer[], seal: boolean, nonce = random.int(1, 2 ** 32 - 1)): WrittenSegment {
  const segmentId = nextSegmentId;
  nextSegmentId += 1;
  const identity = { segmentId, shardIndex: 0, shardCount: 1, createdAtMs: 1, nonce };
  const writer = SegmentWriter.create(nodeFileSystem, directory.path, identity);
  const records: PlacedRecord[] = [];
  for (const [i, payload] of payloads.entries()) {
    const record = recordOf(payload, writer.endOffset, i + 1);
    writer.append([record], encodeRecord(record, payload, nonce), recordBytes(payload.length));
    records.push(record);
  }
  const endOffset = writer.endOffset;
  if (seal) writer.seal();
  else writer.abandon();
  const path = segmentPath(directory.path, segmentId);
  return { path, bytes: readFileSync(path), records, payloads, nonce, endOffset };
}

function recordOf(payload: Buffer, offset: number, sequence: number): PlacedRecord {
  const key = Uint8Array.from(hash("sha256", payload, "buffer"));
  const sizeBytes = payload.length;
  return { space: 1, encoding: 0, sequence, writtenAtMs: 1, sizeBytes, storedBytes: sizeBytes, owner: 3, key, offset };
}

function encodeRecord(record: PlacedRecord, payload: Buffer, nonce: number): Buffer[] {
  const checksums = new ChunkChecksums();
  checksums.update(payload);
  return [encodeRecordHeader(record, nonce), payload, checksums.trailer(payload.length)];
}

function recover(path: string): RecoveredSegment {
  const fd = openSync(path, "r");
  try {
    return recoverSegment(nodeFileSystem, fd);
  } finally {
    closeSync(fd);
  }
}

function recoverBytes(bytes: Buffer): RecoveredSegment {
  const path = `${directory.path}/under-test.seg`;
  writeFileSync(path, bytes);
  return recover(path);
}

/** Sequences of the records whose key is the hash of the payload where the record says it is. */
function intact(recovered: RecoveredSegment, bytes: Buffer): number[] {
  return recovered.records
    .filter(({ key, offset, storedBytes }) => {
      const start = offset + RECORD_HEADER_BYTES;
      return hash("sha256", bytes.subarray(start, start + storedBytes), "buffer").equals(key);
    })
    .map(({ sequence }) => sequence);
}

function sequences(recovered: RecoveredSegment): number[] {
  return recovered.records.map(({ sequence }) => sequence);
}

/** Sequences of the written records that lie wholly outside of `from` to `to`. */
function outside(written: WrittenSegment, from: number, to: number): number[] {
  return written.records
    .filter(({ offset, storedBytes }) => offset + recordBytes(storedBytes) <= from || offset >= to)
    .map(({ sequence }) => sequence);
}

const SMALL_SIZES = [40, 0, 1, 100, 7, 64];
const smallPayloads = (): Buffer[] => SMALL_SIZES.map((sizeBytes) => random.bytes(sizeBytes));

describe("an undamaged segment", () => {
  test.each([true, false])("gives back every record (sealed: %s)", (seal) => {
    const written = writeSegment(smallPayloads(), seal);
    const recovered = recover(written.path);
    expect(recovered).toMatchObject({
      sealed: seal,
      nonce: written.nonce,
      endOffset: written.endOffset,
      fileBytes: written.bytes.length,
      corruptStretches: 0,
      header: { segmentId: expect.any(Number), shardIndex: 0, shardCount: 1 },
    });
    expect(intact(recovered, written.bytes)).toEqual([1, 2, 3, 4, 5, 6]);
    for (const [i, record] of recovered.records.entries()) {
      expect({ ...record, key: Uint8Array.from(record.key) }).toMatchObject({
        ...written.records[i],
        writtenAtMs: expect.any(Number),
      });
    }
  });

  test.each([true, false])("of no records gives back none (sealed: %s)", (seal) => {
    expect(recover(writeSegment([], seal).path)).toMatchObject({ records: [], sealed: seal, corruptStretches: 0 });
  });

  test("takes more records once it is resumed, and its old footer is gone", () => {
    const written = writeSegment(smallPayloads(), true);
    const { header, records, endOffset } = recover(written.path);
    if (header === undefined) throw new Error("the header is good");
    const own = records.map((record) => ({ ...record, key: Uint8Array.from(record.key) }));
    const writer = SegmentWriter.resume(nodeFileSystem, directory.path, header, own, endOffset);
    const payload = random.bytes(33);
    const added = recordOf(payload, writer.endOffset, 7);
    writer.append([added], encodeRecord(added, payload, header.nonce), recordBytes(payload.length));
    expect(sequences(recover(written.path))).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(writer.seal()).toBe(readFileSync(written.path).length);
    const sealed = recover(written.path);
    expect(sealed.sealed).toBe(true);
    expect(intact(sealed, readFileSync(written.path))).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });
});

describe("H4: a truncated segment", () => {
  test("keeps exactly the whole records, at every byte of the last three", () => {
    const written = writeSegment(smallPayloads(), false);
    const fd = openSync(written.path, "r+");
    try {
      for (let length = written.bytes.length; length >= (written.records.at(-3)?.offset ?? 0); length -= 1) {
        nodeFileSystem.truncate(fd, length);
        const whole = outside(written, length, Number.POSITIVE_INFINITY);
        const recovered = recoverSegment(nodeFileSystem, fd);
        expect(intact(recovered, written.bytes), `cut at ${length}`).toEqual(whole);
        expect(sequences(recovered)).toEqual(whole);
        const last = written.records[whole.length - 1];
        expect(recovered.endOffset).toBe((last?.offset ?? 0) + recordBytes(last?.storedBytes ?? 0));
        expect(recovered.corruptStretches, "a torn tail is no corruption").toBe(0);
      }
    } finally {
      closeSync(fd);
    }
  });

  test("keeps every record while only its footer is torn, at every byte of it", () => {
    const written = writeSegment(smallPayloads(), true);
    for (let length = written.endOffset; length < written.bytes.length; length += 1) {
      const recovered = recoverBytes(written.bytes.subarray(0, length));
      expect(intact(recovered, written.bytes), `cut at ${length}`).toEqual([1, 2, 3, 4, 5, 6]);
      expect(recovered).toMatchObject({ sealed: false, endOffset: written.endOffset, corruptStretches: 0 });
    }
  });

  test("of less than a header gives back nothing", () => {
    const { bytes } = writeSegment(smallPayloads(), true);
    for (let length = 0; length <= SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES; length += 1) {
      expect(recoverBytes(bytes.subarray(0, length)).records).toEqual([]);
    }
  });

  test("ends at a tail of zeros, as a power cut leaves it", () => {
    const written = writeSegment(smallPayloads(), false);
    const recovered = recoverBytes(Buffer.concat([written.bytes, Buffer.alloc(10_000)]));
    expect(recovered).toMatchObject({ endOffset: written.endOffset, corruptStretches: 0 });
    expect(sequences(recovered)).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

describe("H4, I6: a flipped byte", () => {
  test.each([true, false])("costs no record but the one that it lies in (sealed: %s)", (seal) => {
    const written = writeSegment(smallPayloads(), seal);
    const fd = openSync(written.path, "r+");
    const bytes = Buffer.from(written.bytes);
    try {
      for (let at = 0; at < bytes.length; at += 1) {
        bytes[at] = (bytes[at] ?? 0) ^ 0x55;
        writeSync(fd, bytes, at, 1, at);
        const recovered = recoverSegment(nodeFileSystem, fd);
        // By its footer a sealed segment also lists the damaged record, whose checksum is left to the first read.
        const asWritten = recovered.sealed ? sequences(recovered) : intact(recovered, bytes);
        expect(sequences(recovered), `flipped at ${at}: a record that is not as written`).toEqual(asWritten);
        expect(intact(recovered, bytes), `flipped at ${at}`).toEqual(
          expect.arrayContaining(outside(written, at, at + 1)),
        );
        for (const record of recovered.records)
          expect(written.records[record.sequence - 1]?.key).toEqual(Uint8Array.from(record.key));
        bytes[at] = (bytes[at] ?? 0) ^ 0x55;
        writeSync(fd, bytes, at, 1, at);
      }
    } finally {
      closeSync(fd);
    }
  });

  test("in a record that others follow is counted as corruption, in the last one as a torn tail", () => {
    const written = writeSegment(smallPayloads(), false);
    const [, , , fourth, , last] = written.records as [
      PlacedRecord,
      PlacedRecord,
      PlacedRecord,
      PlacedRecord,
      PlacedRecord,
      PlacedRecord,
    ];
    const inMiddle = recoverBytes(flipAt(written.bytes, fourth.offset + RECORD_HEADER_BYTES + 3));
    expect(inMiddle).toMatchObject({ corruptStretches: 1, endOffset: written.endOffset });
    expect(sequences(inMiddle)).toEqual([1, 2, 3, 5, 6]);
    const inLast = recoverBytes(flipAt(written.bytes, last.offset + RECORD_HEADER_BYTES));
    expect(inLast).toMatchObject({ corruptStretches: 0, endOffset: last.offset });
  });
});

function flipAt(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

describe("H4: a damaged stretch", () => {
  test.each([1, 100, 4096, 300_000, 700_000])("of %i bytes in a large record is stepped over", (stretchBytes) => {
    const sizes = [100, 900_000, 50, 300_000, 10];
    const written = writeSegment(
      sizes.map((sizeBytes) => random.bytes(sizeBytes)),
      false,
    );
    const at = (written.records[1]?.offset ?? 0) + random.int(0, RECORD_HEADER_BYTES + 100_000);
    const damaged = Buffer.from(written.bytes);
    // Zeros, which a lost block reads as.
    damaged.fill(0, at, at + stretchBytes);
    const recovered = recoverBytes(damaged);
    expect(intact(recovered, damaged), `${stretchBytes} bytes from ${at}`).toEqual([1, 3, 4, 5]);
    expect(recovered).toMatchObject({ corruptStretches: 1, endOffset: written.endOffset });
  });

  test("at the start of a sealed segment, as of one lost block, costs only the records in it", () => {
    const written = writeSegment(smallPayloads(), true);
    const damaged = Buffer.from(written.bytes);
    damaged.fill(0, 0, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 1);
    const recovered = recoverBytes(damaged);
    expect(recovered).toMatchObject({ header: undefined, nonce: written.nonce, endOffset: written.endOffset });
    expect(intact(recovered, damaged)).toEqual([2, 3, 4, 5, 6]);
    expect(sequences(recovered)).toEqual([2, 3, 4, 5, 6]);
  });

  test("of the segment header alone costs nothing", () => {
    const written = writeSegment(smallPayloads(), false);
    const damaged = Buffer.from(written.bytes);
    damaged.fill(0xff, 0, SEGMENT_HEADER_BYTES);
    expect(intact(recoverBytes(damaged), damaged)).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

describe("bytes that a client uploaded are never taken for records", () => {
  const evil = Buffer.from("not what the key says");

  test.each([0, 1, 2, 3, 4, 5, 6, 7])("not from a blob that holds a whole segment file, shifted by %i", (shift) => {
    const copied = writeSegment(smallPayloads(), true);
    const blob = Buffer.concat([Buffer.alloc(shift), copied.bytes]);
    const written = writeSegment([random.bytes(10), blob, random.bytes(20)], false);
    const blobOffset = written.records[1]?.offset ?? 0;
    // With its header gone the scan walks through the payload.
    const headless = flipAt(written.bytes, blobOffset + 20);
    expect(sequences(recoverBytes(headless))).toEqual([1, 3]);
    // Torn right behind the copy.
    const torn = written.bytes.subarray(0, blobOffset + RECORD_HEADER_BYTES + blob.length);
    expect(sequences(recoverBytes(torn))).toEqual([1]);
    // Torn and without its own headers: there is no telling whose the records are, and none are made up.
    const orphaned = Buffer.from(written.bytes);
    orphaned.fill(0, 0, SEGMENT_HEADER_BYTES);
    orphaned.fill(0, blobOffset, blobOffset + RECORD_HEADER_BYTES);
    expect(sequences(recoverBytes(orphaned))).toEqual([1, 3]);
  });

  test("not from a blob that ends in a footer made for the place where the file is torn", () => {
    const first = random.bytes(64);
    const blobOffset = SEGMENT_HEADER_BYTES + recordBytes(first.length);
    const payloadOffset = blobOffset + RECORD_HEADER_BYTES;
    // Everything that can be known from outside: the layout, the place. Not the nonce.
    const planted: PlacedRecord = { ...recordOf(evil, payloadOffset, 99), key: Uint8Array.from(random.bytes(32)) };
    const plantedBytes = Buffer.concat(encodeRecord(planted, evil, 1234));
    const footer = encodeFooter([planted], payloadOffset + plantedBytes.length, 1234);
    const written = writeSegment([first, Buffer.concat([plantedBytes, footer])], false, 77);
    expect(written.records[1]?.offset).toBe(blobOffset);
    const torn = written.bytes.subarray(0, payloadOffset + plantedBytes.length + footer.length);
    const recovered = recoverBytes(torn);
    expect(sequences(recovered)).toEqual([1]);
    expect(recovered).toMatchObject({ sealed: false, endOffset: blobOffset });
  });
});

describe("H25: an unknown format version", () => {
  test("is refused with both versions named, and nothing of the file is read", () => {
    const { bytes } = writeSegment(smallPayloads(), true);
    const newer = Buffer.from(bytes);
    newer.writeUInt32LE(FORMAT_VERSION + 1, 8);
    newer.writeUInt32LE(crc32(newer.subarray(0, 60)), 60);
    expect(() => recoverBytes(newer)).toThrow(UnknownFormatVersionError);
    expect(() => recoverBytes(newer)).toThrow(`expected at most ${FORMAT_VERSION}, got ${FORMAT_VERSION + 1}`);
  });
});
