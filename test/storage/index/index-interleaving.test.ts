import { afterEach, describe, expect, test, vi } from "vitest";
import { allocateIndexBuffers, PARTITION_SLOTS_MIN } from "../../../src/storage/index/index-layout.ts";
import { IndexReader } from "../../../src/storage/index/index-reader.ts";
import { IndexWriter } from "../../../src/storage/index/index-writer.ts";
import { markedKey, markedLocation } from "../../support/index-race.ts";

const ID = 5;
const OPTIONS = { verified: false, lastUseSeconds: 0 };
/** `markedKey` spreads ids over this many partitions. */
const PARTITIONS = 5;

afterEach(() => vi.restoreAllMocks());

/** Lets `act` happen right before the reader's load number `at`. @returns whether the reader came that far. */
function duringLoad(at: number, act: () => void): { readonly happened: () => boolean } {
  const load = Atomics.load.bind(Atomics) as (array: Int32Array, index: number) => number;
  let loads = 0;
  let happened = false;
  vi.spyOn(Atomics, "load").mockImplementation(((array: Int32Array, index: number) => {
    if (!happened && loads === at) {
      happened = true;
      act();
    }
    loads += happened ? 0 : 1;
    return load(array, index);
  }) as typeof Atomics.load);
  return { happened: () => happened };
}

/** What a look-up of `ID` finds, once for each place in it at which the owner may come in between. */
function findAtEachPlace(act: (writer: IndexWriter) => void): ReturnType<IndexReader["find"]>[] {
  return atEachPlace(act, (reader) => reader.find(markedKey(ID), 1));
}

function atEachPlace<T>(act: (writer: IndexWriter) => void, lookUp: (reader: IndexReader) => T): T[] {
  const finds: T[] = [];
  for (let at = 0; ; at += 1) {
    const buffers = allocateIndexBuffers(4096);
    const writer = new IndexWriter(buffers);
    const reader = new IndexReader(buffers);
    // Company in the same slots, so that the look-up probes.
    for (let id = 0; id < 30 * PARTITIONS; id += 1) writer.publish(markedKey(id), markedLocation(id, 0), OPTIONS);
    const { happened } = duringLoad(at, () => act(writer));
    const found = lookUp(reader);
    vi.restoreAllMocks();
    if (!happened()) break;
    finds.push(found);
  }
  expect(finds.length, "places that were tried").toBeGreaterThan(20);
  return finds;
}

/** So many entries come and go in every partition that each table is swept and its old place taken by another one. */
function churn(writer: IndexWriter): void {
  for (let i = 0; i < 4 * PARTITION_SLOTS_MIN * PARTITIONS; i += 1) {
    const key = markedKey(1000 + i);
    writer.publish(key, markedLocation(1000 + i, 0), OPTIONS);
    writer.remove(key, 1);
  }
}

describe("I3: whatever the owner does between any two loads of a reader", () => {
  test("an entry whose table is swept, and the old one reused, is found", () => {
    for (const found of findAtEachPlace(churn)) expect(found).toMatchObject(markedLocation(ID, 0));
  });

  test("an entry whose table grows is found", () => {
    const finds = findAtEachPlace((writer) => {
      for (let id = 1000; id < 3000; id += 1) writer.publish(markedKey(id), markedLocation(id, 0), OPTIONS);
    });
    for (const found of finds) expect(found).toMatchObject(markedLocation(ID, 0));
  });

  test("an entry that moves is found at its old place or at its new one", () => {
    const finds = findAtEachPlace((writer) => writer.publish(markedKey(ID), markedLocation(ID, 1), OPTIONS));
    expect([0, 1]).toEqual(expect.arrayContaining([...new Set(finds.map((found) => found?.segmentId))]));
    for (const found of finds) expect(found).toMatchObject(markedLocation(ID, found?.segmentId ?? -1));
  });

  test("an entry that is removed, and its room taken by another key, is found as it was or not at all", () => {
    const finds = findAtEachPlace((writer) => {
      writer.remove(markedKey(ID), 1);
      writer.publish(markedKey(1000 + ID), markedLocation(1000 + ID, 9), OPTIONS);
    });
    for (const found of finds) expect(found ?? markedLocation(ID, 0)).toMatchObject(markedLocation(ID, 0));
  });

  test("an entry that is removed and comes back elsewhere is never a mixture", () => {
    const finds = findAtEachPlace((writer) => {
      writer.remove(markedKey(ID), 1);
      writer.publish(markedKey(1000 + ID), markedLocation(1000 + ID, 9), OPTIONS);
      writer.publish(markedKey(ID), markedLocation(ID, 2), OPTIONS);
      churn(writer);
    });
    for (const found of finds) {
      const expected = markedLocation(ID, found?.segmentId ?? 0);
      expect(found ?? expected).toMatchObject(expected);
    }
  });

  test("a use of an entry that moves, or whose table is swept, is one of this entry", () => {
    const { sizeBytes } = markedLocation(ID, 0);
    const use = (reader: IndexReader): [number, number | undefined] => [
      reader.use(markedKey(ID), 1, undefined, 77),
      reader.find(markedKey(ID), 1)?.lastUseSeconds,
    ];
    for (const used of atEachPlace(churn, use)) expect(used).toEqual([sizeBytes, 77]);
    const moved = atEachPlace((writer) => writer.publish(markedKey(ID), markedLocation(ID, 1), OPTIONS), use);
    for (const [size] of moved) expect([sizeBytes, markedLocation(ID, 1).sizeBytes]).toContain(size);
  });

  test("a use of an entry whose room another key takes is answered as before it or as after it", () => {
    const { sizeBytes } = markedLocation(ID, 0);
    const replace = (writer: IndexWriter): void => {
      writer.remove(markedKey(ID), 1);
      writer.publish(markedKey(1000 + ID), markedLocation(1000 + ID, 9), OPTIONS);
    };
    const sizes = atEachPlace(replace, (reader) => reader.use(markedKey(ID), 1, undefined, 77));
    for (const size of sizes) expect([sizeBytes, -1]).toContain(size);
  });
});
