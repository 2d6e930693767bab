import { KEY_WORDS } from "../../cache/key-words.ts";
import {
  CONTROL_LIVE_COUNT,
  ENTRY_KEY,
  ENTRY_LAST_USE,
  ENTRY_MARKS,
  ENTRY_OFFSET,
  ENTRY_PACKED,
  ENTRY_SEGMENT,
  ENTRY_SIZE_LOW,
  ENTRY_STORED_LOW,
  ENTRY_VERSION,
  ENTRY_WORDS,
  type EntryLocation,
  type IndexBuffers,
  MARK_VERIFIED,
  PARTITION_BASE,
  PARTITION_GENERATION,
  PARTITION_SLOT_MASK,
  partitionControl,
  partitionOfKey,
  SLOT_DELETED,
  SLOT_EMPTY,
  slotEntry,
  slotTagMatches,
  unpackLocation,
  unpackSize,
} from "./index-layout.ts";

/**
 * The owner holds a lock word for well under a microsecond of its time, or for as long as the scheduler keeps it from
 * running; a thread that was ended at that very instant holds it for ever. After this many looks, about a second,
 * the entry is a miss: the index of a shard that died is replaced soon.
 */
const RETRIES_MAX = 50_000_000;

/** In place of a size. */
const REUSED = -2;

/** A consistent copy of an entry, and where it stood, for marking it. */
export interface FoundEntry extends EntryLocation {
  readonly entryNumber: number;
  readonly verified: boolean;
  /** Seconds since the epoch; 0: not used since it was written. */
  readonly lastUseSeconds: number;
}

/**
 * Looks up one shard's part of the index from any thread, without locks (I3). It never sees a torn entry and never
 * misses one that was visible during the whole call.
 */
export class IndexReader {
  protected readonly control: Int32Array;
  protected readonly slots: Int32Array;
  protected readonly entries: Int32Array;
  protected readonly owned: Float64Array;

  constructor(buffers: IndexBuffers) {
    this.control = new Int32Array(buffers.control);
    this.slots = new Int32Array(buffers.slots);
    this.entries = new Int32Array(buffers.entries);
    this.owned = new Float64Array(buffers.owned);
  }

  get liveCount(): number {
    return Atomics.load(this.control, CONTROL_LIVE_COUNT);
  }

  /** Bytes that the records of an owner take on disk, as far as the index points to them. */
  ownedBytes(owner: number): number {
    return this.owned[owner] ?? 0;
  }

  /** @param words The key as `keyWords` gives it. */
  find(words: Int32Array, space: number): FoundEntry | undefined {
    for (let attempt = 0; attempt < RETRIES_MAX; attempt += 1) {
      const entryNumber = this.findEntryNumber(words, space);
      if (entryNumber === -1) return undefined;
      // Between the search and this read the entry may have been moved (same number, new place: that place is
      // read), or removed and reused for another key: then only a new search can tell whether the key is back.
      const found = this.readEntry(entryNumber, words, space);
      if (found === "stuck") return undefined;
      if (found !== "reused") return found;
    }
    return undefined;
  }

  /**
   * Notes a use of the entry if it is there and has this size (any, where undefined): a look-up that makes no object.
   * @returns its size in bytes, or -1.
   */
  use(words: Int32Array, space: number, sizeBytes: number | undefined, nowSeconds: number): number {
    for (let attempt = 0; attempt < RETRIES_MAX; attempt += 1) {
      const entryNumber = this.findEntryNumber(words, space);
      if (entryNumber === -1) return -1;
      // As in `find`: a reused entry sends back to the search.
      const found = this.readSize(entryNumber, words, space);
      if (found === REUSED) continue;
      if (found === -1 || (sizeBytes !== undefined && found !== sizeBytes)) return -1;
      this.touch(entryNumber, nowSeconds);
      return found;
    }
    return -1;
  }

  /** Notes a use, for leases and retention. A lost race costs one renewal of an entry that is being replaced. */
  touch(entryNumber: number, nowSeconds: number): void {
    Atomics.store(this.entries, entryNumber * ENTRY_WORDS + ENTRY_LAST_USE, nowSeconds);
  }

  markVerified(entryNumber: number): void {
    Atomics.or(this.entries, entryNumber * ENTRY_WORDS + ENTRY_MARKS, MARK_VERIFIED);
  }

  protected findEntryNumber(words: Int32Array, space: number): number {
    const control = partitionControl(partitionOfKey(words));
    for (let attempt = 0; attempt < RETRIES_MAX; attempt += 1) {
      const generation = Atomics.load(this.control, control + PARTITION_GENERATION);
      // Odd: base and mask are being replaced and may belong to different tables.
      if ((generation & 1) === 1) continue;
      const base = Atomics.load(this.control, control + PARTITION_BASE);
      const mask = Atomics.load(this.control, control + PARTITION_SLOT_MASK);
      const entryNumber = this.probe(words, space, base, mask);
      // A table that grows is copied aside and then swapped, and the old one may be reused by another partition
      // while this thread still walks it. A hit is checked against the entry itself; a miss counts only if the
      // table was the current one to the end.
      if (entryNumber !== -1) return entryNumber;
      if (Atomics.load(this.control, control + PARTITION_GENERATION) === generation) return -1;
    }
    return -1;
  }

  private probe(words: Int32Array, space: number, base: number, mask: number): number {
    const tagWord = words[3] ?? 0;
    let position = (words[2] ?? 0) & mask;
    for (let steps = 0; steps <= mask; steps += 1) {
      const slot = Atomics.load(this.slots, base + position);
      if (slot === SLOT_EMPTY) return -1;
      if (slot !== SLOT_DELETED && slotTagMatches(slot, tagWord) && this.keyMatches(slotEntry(slot), words, space)) {
        return slotEntry(slot);
      }
      position = (position + 1) & mask;
    }
    return -1;
  }

  private keyMatches(entryNumber: number, words: Int32Array, space: number): boolean {
    const at = entryNumber * ENTRY_WORDS;
    for (let i = 0; i < KEY_WORDS; i += 1) {
      if (Atomics.load(this.entries, at + ENTRY_KEY + i) !== words[i]) return false;
    }
    return ((Atomics.load(this.entries, at + ENTRY_PACKED) >>> 8) & 0xff) === space;
  }

  private readEntry(entryNumber: number, words: Int32Array, space: number): FoundEntry | "reused" | "stuck" {
    const at = entryNumber * ENTRY_WORDS;
    for (let attempt = 0; attempt < RETRIES_MAX; attempt += 1) {
      const version = Atomics.load(this.entries, at + ENTRY_VERSION);
      // Odd: the owner is rewriting it, for well under a microsecond of its time.
      if ((version & 1) === 1) continue;
      const matches = this.keyMatches(entryNumber, words, space);
      const marks = Atomics.load(this.entries, at + ENTRY_MARKS);
      const location = unpackLocation(
        Atomics.load(this.entries, at + ENTRY_SIZE_LOW),
        Atomics.load(this.entries, at + ENTRY_STORED_LOW),
        Atomics.load(this.entries, at + ENTRY_PACKED),
        Atomics.load(this.entries, at + ENTRY_SEGMENT),
        Atomics.load(this.entries, at + ENTRY_OFFSET),
        marks,
      );
      const lastUseSeconds = Atomics.load(this.entries, at + ENTRY_LAST_USE);
      const verified = (marks & MARK_VERIFIED) !== 0;
      if (Atomics.load(this.entries, at + ENTRY_VERSION) !== version) continue;
      return matches ? { ...location, entryNumber, verified, lastUseSeconds } : "reused";
    }
    return "stuck";
  }

  /** @returns -1 where the entry is stuck. */
  private readSize(entryNumber: number, words: Int32Array, space: number): number {
    const at = entryNumber * ENTRY_WORDS;
    for (let attempt = 0; attempt < RETRIES_MAX; attempt += 1) {
      const version = Atomics.load(this.entries, at + ENTRY_VERSION);
      // Odd: the owner is rewriting it.
      if ((version & 1) === 1) continue;
      const matches = this.keyMatches(entryNumber, words, space);
      const sizeLow = Atomics.load(this.entries, at + ENTRY_SIZE_LOW);
      const packed = Atomics.load(this.entries, at + ENTRY_PACKED);
      // Changed since: what was read may be half of one entry and half of the next.
      if (Atomics.load(this.entries, at + ENTRY_VERSION) !== version) continue;
      return matches ? unpackSize(sizeLow, packed) : REUSED;
    }
    return -1;
  }
}
