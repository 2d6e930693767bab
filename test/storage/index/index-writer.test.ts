import { keyWords } from "../../../src/cache/key-words.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  allocateIndexBuffers,
  type EntryLocation,
  OWNER_COUNT,
  PARTITION_COUNT,
  SIZE_BYTES_MAX,
} from "../../../src/storage/index/index-layout.ts";
import { IndexReader } from "../../../src/storage/index/index-reader.ts";
import { IndexWriter } from "../../../src/storage/index/index-writer.ts";
import { recordFootprintBytes } from "../../../src/storage/segment/segment-format.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const OWNERS = [0, 1, 2, OWNER_COUNT - 1];

const location: fc.Arbitrary<Omit<EntryLocation, "space">> = fc.record({
  encoding: fc.integer({ min: 0, max: 255 }),
  sizeBytes: fc.integer({ min: 0, max: SIZE_BYTES_MAX }),
  storedBytes: fc.integer({ min: 0, max: SIZE_BYTES_MAX }),
  owner: fc.constantFrom(...OWNERS),
  segmentId: fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom(1, 2)),
  offset: fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((units) => units * 8),
});

interface Modelled {
  location: EntryLocation;
  verified: boolean;
  lastUseSeconds: number;
}

/** A key of which every word is a function of `id`; few ids share their slots. */
function keyOf(id: number, partition = id % PARTITION_COUNT): Int32Array {
  return Int32Array.from({ length: 8 }, (_, word) =>
    word === 1 ? partition : Math.imul(id + 1, 0x9e3779b1 + 2 * word),
  );
}

describe("an index against a Map (fast-check prints its seed)", () => {
  // Few keys in few slots, so that they meet: collisions, deleted slots, replaced entries.
  const id = fc.integer({ min: 0, max: 90 });
  const space = fc.constantFrom(1, 64);
  const ofSize = fc.constantFrom("any" as const, "this" as const, "another" as const);
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant("publish" as const),
        id,
        space,
        location,
        verified: fc.boolean(),
        lastUseSeconds: fc.nat(),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), id, space }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("removeSegment" as const), id, space }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("touch" as const), id, space, seconds: fc.nat() }) },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant("use" as const), id, space, seconds: fc.nat(), of: ofSize }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("verify" as const), id, space }) },
  );

  test.each([
    ["spread over the partitions", (i: number) => keyOf(i)],
    ["all in one partition", (i: number) => keyOf(i, 5)],
    ["all in one partition at one slot", (i: number) => keyOf(i, 5).fill(3, 2, 3)],
  ])("with keys %s", (_, words) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 250 }), (steps) => {
        const entryCountMax = 100;
        const buffers = allocateIndexBuffers(entryCountMax);
        const writer = new IndexWriter(buffers);
        const reader = new IndexReader(buffers);
        const model = new Map<string, Modelled>();
        for (const taken of steps) {
          const key = words(taken.id);
          const name = `${taken.id} ${taken.space}`;
          const known = model.get(name);
          const found = reader.find(key, taken.space);
          let agrees = true;
          switch (taken.kind) {
            case "publish": {
              const { verified, lastUseSeconds } = taken;
              const entry = { location: { ...taken.location, space: taken.space }, verified, lastUseSeconds };
              const hasRoom = known !== undefined || model.size < entryCountMax;
              agrees = writer.publish(key, entry.location, entry) === hasRoom;
              if (hasRoom) model.set(name, entry);
              break;
            }
            case "remove":
              agrees = writer.remove(key, taken.space) === model.delete(name);
              break;
            case "removeSegment": {
              const segmentId = known?.location.segmentId ?? 77;
              const inIt = [...model].filter(([, entry]) => entry.location.segmentId === segmentId);
              for (const [other] of inIt) model.delete(other);
              agrees = writer.removeSegment(segmentId) === inIt.length;
              break;
            }
            case "touch":
              if (found !== undefined) reader.touch(found.entryNumber, taken.seconds);
              if (known !== undefined) known.lastUseSeconds = taken.seconds;
              break;
            case "use": {
              const { of, seconds } = taken;
              const sizeBytes = known?.location.sizeBytes ?? 7;
              const asked = of === "any" ? undefined : of === "this" ? sizeBytes : sizeBytes + 1;
              const isUsed = known !== undefined && of !== "another";
              agrees = reader.use(key, taken.space, asked, seconds) === (isUsed ? sizeBytes : -1);
              if (isUsed) known.lastUseSeconds = seconds;
              break;
            }
            case "verify":
              if (found !== undefined) reader.markVerified(found.entryNumber);
              if (known !== undefined) known.verified = true;
              break;
          }
          expect({ kind: taken.kind, agrees }).toEqual({ kind: taken.kind, agrees: true });
          expect(reader.liveCount).toBe(model.size);
          expect(writer.freeCount).toBe(entryCountMax - model.size);
          expect(OWNERS.map((owner) => reader.ownedBytes(owner))).toEqual(OWNERS.map((owner) => owned(model, owner)));
        }
        for (let i = 0; i <= 90; i += 1) {
          for (const s of [1, 64]) expectSame(reader.find(words(i), s), model.get(`${i} ${s}`));
        }
      }),
      { numRuns: 150 },
    );
  });
});

/** What the entries of an owner take on disk; of nobody's no account is kept. */
function owned(model: ReadonlyMap<string, Modelled>, owner: number): number {
  let bytes = 0;
  for (const { location: at } of model.values()) {
    if (owner !== 0 && at.owner === owner) bytes += recordFootprintBytes(at.storedBytes);
  }
  return bytes;
}

function expectSame(found: ReturnType<IndexReader["find"]>, expected: Modelled | undefined): void {
  expect(found && { ...found, entryNumber: undefined }).toEqual(
    expected && {
      ...expected.location,
      verified: expected.verified,
      lastUseSeconds: expected.lastUseSeconds,
      entryNumber: undefined,
    },
  );
}

describe("a growing index", () => {
  const random = seededRandom(testSeed("index growth"));
  const locationOf = (i: number): EntryLocation => ({
    space: 1,
    encoding: 0,
    sizeBytes: i,
    storedBytes: i,
    owner: 0,
    segmentId: i,
    offset: i * 8,
  });
  const published = { verified: true, lastUseSeconds: 0 };

  test.each([true, false])("finds each of 100,000 entries (reserved in advance: %s)", (reserved) => {
    const count = 100_000;
    const buffers = allocateIndexBuffers(count);
    const writer = new IndexWriter(buffers);
    const reader = new IndexReader(buffers);
    if (reserved) writer.reserve(count);
    const keys = Array.from({ length: count }, () => keyWords(random.bytes(32)));
    let unfound = 0;
    for (const [i, key] of keys.entries()) {
      if (!writer.publish(key, locationOf(i), published)) unfound += 1;
      // One that was there before stays found while tables grow.
      const earlier = random.int(0, i);
      if (reader.find(keys[earlier] ?? key, 1)?.segmentId !== earlier) unfound += 1;
    }
    for (const [i, key] of keys.entries()) if (reader.find(key, 1)?.offset !== i * 8) unfound += 1;
    expect(unfound).toBe(0);
    expect(reader.liveCount).toBe(count);
    expect(writer.freeCount).toBe(0);
    expect(reader.find(keyWords(random.bytes(32)), 1)).toBeUndefined();
  });

  test("that is full refuses a new key, still moves known ones, and takes a new one in place of a removed one", () => {
    const count = 5000;
    const buffers = allocateIndexBuffers(count);
    const writer = new IndexWriter(buffers);
    const keys = Array.from({ length: count + 1 }, () => keyWords(random.bytes(32)));
    for (let i = 0; i < count; i += 1) expect(writer.publish(keys[i]!, locationOf(i), published)).toBe(true);
    expect(writer.publish(keys[count]!, locationOf(0), published)).toBe(false);
    expect(writer.find(keys[count]!, 1)).toBeUndefined();
    expect(writer.publish(keys[7]!, locationOf(70), published)).toBe(true);
    expect(writer.find(keys[7]!, 1)).toMatchObject(locationOf(70));
    expect(writer.remove(keys[8]!, 1)).toBe(true);
    expect(writer.publish(keys[count]!, locationOf(9), published)).toBe(true);
    expect(writer.find(keys[count]!, 1)).toMatchObject(locationOf(9));
    expect(writer.liveCount).toBe(count);
  });

  test("lives through many times its size of entries that come and go", () => {
    const count = 4096;
    const buffers = allocateIndexBuffers(count);
    const writer = new IndexWriter(buffers);
    const live: Int32Array[] = [];
    let refused = 0;
    for (let i = 0; i < 20 * count; i += 1) {
      if (live.length === count) {
        const [gone] = live.splice(random.int(0, live.length - 1), 1);
        if (!writer.remove(gone!, 1)) refused += 1;
      }
      const key = keyWords(random.bytes(32));
      if (!writer.publish(key, locationOf(i), published)) refused += 1;
      live.push(key);
    }
    expect(refused).toBe(0);
    expect(live.filter((key) => writer.find(key, 1) === undefined)).toEqual([]);
    expect(writer.liveCount).toBe(count);
  });

  test("one digest in two key spaces is two entries", () => {
    const writer = new IndexWriter(allocateIndexBuffers(10));
    const key = keyWords(random.bytes(32));
    writer.publish(key, { ...locationOf(1), space: 1 }, published);
    writer.publish(key, { ...locationOf(2), space: 64 }, published);
    expect(writer.find(key, 1)?.segmentId).toBe(1);
    expect(writer.find(key, 64)?.segmentId).toBe(2);
    expect(writer.remove(key, 1)).toBe(true);
    expect(writer.find(key, 1)).toBeUndefined();
    expect(writer.find(key, 64)?.segmentId).toBe(2);
  });
});
