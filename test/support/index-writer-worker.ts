import { parentPort, workerData } from "node:worker_threads";
import { IndexWriter } from "../../src/storage/index/index-writer.ts";
import { type IndexRace, markedKey, markedLocation, RACE_DONE, RACE_ROUNDS } from "./index-race.ts";

/** The owner's side of the race in index-concurrency.test.ts: moves, adds, removes, grows and shrinks without a pause. */
const race = workerData as IndexRace;
const words = new Int32Array(race.progress);
const writer = new IndexWriter(race.buffers);
const options = { verified: false, lastUseSeconds: 0 };

const publish = (id: number, counter: number): void => {
  if (!writer.publish(markedKey(id), markedLocation(id, counter), options)) throw new Error("the index is full");
};

for (let id = 0; id < race.permanentCount; id += 1) publish(id, 0);
parentPort?.postMessage("ready");
for (let round = 1; round <= race.rounds; round += 1) {
  // Moves: the permanent ones point elsewhere each round.
  for (let id = 0; id < race.permanentCount; id += 1) publish(id, round);
  // Entries come and go; their numbers and their slots go from key to key.
  const from = race.permanentCount + (round % 7) * race.passingCount;
  for (let i = 0; i < race.passingCount; i += 1) publish(from + i, round);
  for (let i = 0; i < race.passingCount; i += 1) writer.remove(markedKey(from + i), 1);
  // New ones that stay make the tables grow.
  for (let i = 0; i < race.growthPerRound; i += 1) {
    publish(race.growthFrom + round * race.growthPerRound + i, round);
  }
  Atomics.store(words, RACE_ROUNDS, round);
}
Atomics.store(words, RACE_DONE, 1);
