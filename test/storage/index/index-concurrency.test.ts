import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { allocateIndexBuffers } from "../../../src/storage/index/index-layout.ts";
import { IndexReader } from "../../../src/storage/index/index-reader.ts";
import {
  type IndexRace,
  markedKey,
  markedLocation,
  RACE_DONE,
  RACE_ROUNDS,
  RACE_WORDS,
} from "../../support/index-race.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

/** After this many look-ups the reader stops, also if the worker is not done. */
const LOOKUPS_MAX = 20_000_000;

const RACES = {
  "tables grow": { rounds: 1500, permanentCount: 300, passingCount: 200, growthFrom: 10_000, growthPerRound: 80 },
  "small tables are swept and change places": {
    rounds: 6000,
    permanentCount: 40,
    passingCount: 80,
    growthFrom: 10_000,
    growthPerRound: 0,
  },
};

test.each(Object.entries(RACES))(
  "I3: a reader misses no permanent key and sees no torn entry while %s in another thread",
  async (name, shape) => {
    const random = seededRandom(testSeed(name));
    const race: IndexRace = {
      ...shape,
      buffers: allocateIndexBuffers(150_000),
      progress: new SharedArrayBuffer(RACE_WORDS * 4),
    };
    const words = new Int32Array(race.progress);
    const worker = new Worker(new URL("../../support/index-writer-worker.ts", import.meta.url), { workerData: race });
    const exited = once(worker, "exit");
    try {
      await once(worker, "message");
      const reader = new IndexReader(race.buffers);
      const permanentKeys = Array.from({ length: race.permanentCount }, (_, id) => markedKey(id));
      const faults: string[] = [];
      const seen = { permanent: 0, passing: 0, grown: 0, counters: new Set<number>() };
      for (let i = 0; i < LOOKUPS_MAX && Atomics.load(words, RACE_DONE) === 0 && faults.length === 0; i += 1) {
        const kind = i % 3;
        const id =
          kind === 0
            ? random.int(0, race.permanentCount - 1)
            : kind === 1
              ? race.permanentCount + random.int(0, 7 * race.passingCount - 1)
              : race.growthFrom + random.int(0, (race.rounds + 1) * race.growthPerRound);
        const found = reader.find(permanentKeys[id] ?? markedKey(id), 1);
        if (found === undefined) {
          if (kind === 0) faults.push(`key ${id} was not found`);
          continue;
        }
        const { entryNumber, verified, lastUseSeconds, ...location } = found;
        const expected = markedLocation(id, location.segmentId);
        const isTorn = (Object.keys(expected) as (keyof typeof expected)[]).some(
          (name) => expected[name] !== location[name],
        );
        if (isTorn || verified || lastUseSeconds !== 0) faults.push(`key ${id}: ${JSON.stringify(found)}`);
        if (entryNumber < 0) faults.push(`key ${id}: entry ${entryNumber}`);
        if (kind === 0) seen.counters.add(location.segmentId);
        seen[kind === 0 ? "permanent" : kind === 1 ? "passing" : "grown"] += 1;
      }
      expect(faults).toEqual([]);
      await exited;
      expect(Atomics.load(words, RACE_ROUNDS)).toBe(race.rounds);
      // It was a race: reads fell between the moves, and saw entries that were removed again.
      expect(seen.counters.size).toBeGreaterThan(5);
      expect(seen.passing).toBeGreaterThan(0);
      expect(seen.grown > 0).toBe(race.growthPerRound > 0);
      for (const [id, key] of permanentKeys.entries()) {
        expect(reader.find(key, 1)).toMatchObject(markedLocation(id, race.rounds));
      }
      expect(reader.liveCount).toBe(race.permanentCount + race.rounds * race.growthPerRound);
    } finally {
      await worker.terminate();
    }
  },
);
