import type { EntryLocation, IndexBuffers } from "../../src/storage/index/index-layout.ts";

/** What the reading test and the writing worker share. */
export interface IndexRace {
  readonly buffers: IndexBuffers;
  /** Int32 words, see below. */
  readonly progress: SharedArrayBuffer;
  readonly rounds: number;
  /** Ids 0 up to this are published first and never removed. */
  readonly permanentCount: number;
  readonly passingCount: number;
  readonly growthFrom: number;
  readonly growthPerRound: number;
}

/** Rounds that the worker has finished. */
export const RACE_ROUNDS = 0;
/** 1 once the worker writes no more. */
export const RACE_DONE = 1;
export const RACE_WORDS = 2;

/** The key of an id: every word is a function of it, and the ids are spread over few partitions. */
export function markedKey(id: number): Int32Array {
  return Int32Array.from({ length: 8 }, (_, word) =>
    word === 1 ? id % 5 : Math.imul(id + 1, 0x9e3779b1 + 2 * word) ^ (id >>> 3),
  );
}

/** A location of which every field is a function of the id and of one counter, so that a torn copy shows. */
export function markedLocation(id: number, counter: number): EntryLocation {
  const mixed = (Math.imul(id + 1, 0x85ebca6b) ^ Math.imul(counter + 1, 0xc2b2ae35)) >>> 0;
  return {
    space: 1,
    encoding: mixed & 0xff,
    sizeBytes: (mixed & 0xff) * 2 ** 32 + ((mixed ^ 0x55aa55aa) >>> 0),
    storedBytes: ((mixed >>> 8) & 0xff) * 2 ** 32 + mixed,
    owner: mixed >>> 16,
    segmentId: counter,
    offset: mixed * 8,
  };
}
