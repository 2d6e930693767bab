import { describe, expect, test } from "vitest";
import { type FileSystem, nodeFileSystem } from "../../src/storage/file-system.ts";
import { HotRecords } from "../../src/storage/hot-records.ts";
import type { FoundEntry } from "../../src/storage/index/index-reader.ts";
import { type Neighbour, readNeighbours } from "../../src/storage/neighbour-reads.ts";
import { PromptReads } from "../../src/storage/segment/prompt-reads.ts";
import { RECORD_HEADER_BYTES, recordBytes } from "../../src/storage/segment/segment-format.ts";
import { SegmentReaders } from "../../src/storage/segment/segment-readers.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const MIB = 1024 * 1024;
const SEGMENT_BYTES = 2 * MIB;
const random = seededRandom(testSeed("readNeighbours"));

interface Read {
  readonly fd: number;
  readonly position: number;
  readonly bytes: number;
}

/** Segments of random bytes, whose descriptors are their ids. */
async function fixture() {
  const segments = new Map([1, 2].map((segmentId) => [segmentId, random.bytes(SEGMENT_BYTES)]));
  const reads: Read[] = [];
  let isFailing = false;
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    openAsync: async (path) => (path.includes("1") ? 1 : 2),
    close: () => {},
    read(fd, target, position) {
      reads.push({ fd, position, bytes: target.length });
      if (isFailing) throw new Error("EIO");
      return segments.get(fd)!.copy(target, 0, position);
    },
  };
  const hotRecords = new HotRecords(4 * MIB);
  const readers = new SegmentReaders(fileSystem, "/segments", 10);
  for (const segmentId of segments.keys()) (await readers.pin(segmentId)).unpin();
  const parts = { readers, promptReads: new PromptReads({ fileSystem }), hotRecords };
  let entryNumber = 0;
  /** Records side by side from `offset` on. */
  const neighbours = (segmentId: number, offset: number, sizes: readonly number[]): Neighbour[] =>
    sizes.map((storedBytes) => {
      const others = { space: 1, encoding: 0, owner: 0, verified: true, lastUseSeconds: 0 };
      const found: FoundEntry = {
        entryNumber: entryNumber++,
        segmentId,
        offset,
        sizeBytes: storedBytes,
        storedBytes,
        ...others,
      };
      offset += recordBytes(storedBytes);
      return { shardIndex: 0, found };
    });
  const expectHot = (expected: readonly Neighbour[]): void => {
    for (const { shardIndex, found } of expected) {
      const start = found.offset + RECORD_HEADER_BYTES;
      const payload = segments.get(found.segmentId)!.subarray(start, start + found.storedBytes);
      expect(payload.equals(hotRecords.get(shardIndex, found)?.bytes ?? Buffer.from("absent"))).toBe(true);
    }
  };
  const fail = (): void => void (isFailing = true);
  return { reads, parts, hotRecords, neighbours, expectHot, fail };
}

describe("readNeighbours", () => {
  test("reads records that lie side by side with one call, in whatever order they are asked for", async () => {
    const { reads, parts, neighbours, expectHot } = await fixture();
    const sizes = Array.from({ length: 100 }, () => random.int(0, 1500));
    const all = neighbours(1, 64, sizes);
    readNeighbours(
      all.toSorted(() => random.fraction() - 0.5),
      parts,
    );
    expect(reads).toHaveLength(1);
    expectHot(all);
  });

  test("reads once for each segment and for what lies apart, and nothing for what lies alone", async () => {
    const { reads, parts, hotRecords, neighbours, expectHot } = await fixture();
    const near = [neighbours(1, 64, [100, 200]), neighbours(1, 100_000, [1, 8192, 3]), neighbours(2, 64, [5, 5])];
    const alone = neighbours(2, 500_000, [100]);
    readNeighbours([...near.flat(), ...alone], parts);
    expect(reads.map(({ fd }) => fd)).toEqual([1, 1, 2]);
    expectHot(near.flat());
    expect(alone.some(({ shardIndex, found }) => hotRecords.has(shardIndex, found))).toBe(false);
  });

  test("reads at most 256 KiB at once, and over a gap of a few KiB", async () => {
    const { reads, parts, neighbours, expectHot } = await fixture();
    const all = neighbours(
      1,
      64,
      Array.from({ length: 60 }, () => 8000),
    );
    const everySecond = all.filter((_, i) => i % 2 === 0);
    readNeighbours(
      neighbours(2, 64, [10, 3900, 10]).filter((_, i) => i !== 1),
      parts,
    );
    expect(reads).toHaveLength(1);
    readNeighbours(all, parts);
    expect(reads).toHaveLength(3);
    expect(Math.max(...reads.map(({ bytes }) => bytes))).toBeLessThanOrEqual(256 * 1024);
    expectHot(all);
    reads.length = 0;
    readNeighbours(everySecond, parts);
    expect(reads).toEqual([]);
  });

  test.each([100, 5000])("takes a record of %i bytes that is asked for twice as one", async (bytes) => {
    const { reads, parts, hotRecords, neighbours, expectHot } = await fixture();
    const alone = neighbours(1, 64, [bytes]);
    readNeighbours([...alone, ...alone], parts);
    expect(reads).toEqual([]);
    expect(hotRecords.bytes).toBe(0);
    const twice = neighbours(2, 64, [bytes, bytes]);
    readNeighbours([...twice, ...twice], parts);
    expectHot(twice);
    const { bytes: bytesHeld } = hotRecords;
    readNeighbours([...twice, ...twice], parts);
    expect(hotRecords.bytes).toBe(bytesHeld);
    expectHot(twice);
  });

  test("leaves out what cannot be read", async () => {
    const { parts, hotRecords, neighbours, fail } = await fixture();
    const pastTheEnd = neighbours(2, SEGMENT_BYTES - 100, [10, 10, 10]);
    const unopened = neighbours(3, 64, [10, 10]);
    readNeighbours([...pastTheEnd, ...unopened], parts);
    fail();
    const failing = neighbours(2, 64, [10, 10]);
    readNeighbours(failing, parts);
    for (const { shardIndex, found } of [...pastTheEnd, ...unopened, ...failing]) {
      expect(hotRecords.has(shardIndex, found)).toBe(false);
    }
  });
});
