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
  OFFSET_UNIT_BYTES,
  ownerOfMarks,
  packMarks,
  packWord,
  PARTITION_BASE,
  PARTITION_COUNT,
  PARTITION_GENERATION,
  PARTITION_SLOT_MASK,
  PARTITION_SLOTS_MIN,
  partitionControl,
  partitionOfKey,
  SLOT_DELETED,
  SLOT_EMPTY,
  slotEntry,
  slotOf,
  unpackStored,
} from "./index-layout.ts";
import { recordFootprintBytes } from "../segment/segment-format.ts";
import { IndexReader } from "./index-reader.ts";
import { SlotTableAllocator } from "./slot-table-allocator.ts";

/** What a publisher knows besides the location. */
export interface PublishOptions {
  /** The bytes were checked by this process, so reads need not check them again. */
  verified: boolean;
  /** Seconds since the epoch; 0: not used yet. */
  lastUseSeconds: number;
}

/** An entry as its owner's account has it. */
export interface OwnedEntry {
  readonly words: Int32Array;
  readonly space: number;
  readonly segmentId: number;
  readonly footprintBytes: number;
  /** 0: not used yet. */
  readonly lastUseSeconds: number;
}

/**
 * The one writer of a shard's part of the index (I3). Each shard worker makes exactly one, over buffers that are
 * empty (a worker that restarts after a crash gets new buffers).
 */
export class IndexWriter extends IndexReader {
  private readonly allocator: SlotTableAllocator;
  private readonly freeEntries: number[] = [];
  private readonly liveInPartition = new Int32Array(PARTITION_COUNT);
  /** Slots that are not empty, deleted ones included: what probing cost depends on. */
  private readonly usedSlots = new Int32Array(PARTITION_COUNT);
  private entriesTouched = 0;
  private readonly restoredKey = new Int32Array(KEY_WORDS);
  readonly entryCountMax: number;

  constructor(buffers: IndexBuffers) {
    super(buffers);
    this.entryCountMax = this.entries.length / ENTRY_WORDS;
    this.allocator = new SlotTableAllocator(this.slots);
    for (let partition = 0; partition < PARTITION_COUNT; partition += 1) {
      this.installTable(partition, PARTITION_SLOTS_MIN);
    }
  }

  /** Sizes the tables for `entryCount` entries, so that loading a known number of them never rehashes. */
  reserve(entryCount: number): void {
    // Partitions are not equally full: four standard deviations of slack.
    const mean = entryCount / PARTITION_COUNT;
    const slots = 2 ** Math.ceil(Math.log2(((mean + 4 * Math.sqrt(mean)) * 4) / 3 + 1));
    for (let partition = 0; partition < PARTITION_COUNT; partition += 1) {
      const mask = Atomics.load(this.control, partitionControl(partition) + PARTITION_SLOT_MASK);
      if (slots > mask + 1) this.rebuildTable(partition, slots);
    }
  }

  /** Keys that can be added. */
  get freeCount(): number {
    return this.freeEntries.length + this.entryCountMax - this.entriesTouched;
  }

  /**
   * Makes an entry visible, or moves the one that is there to a new location. Call it only when the bytes are
   * where `location` says (I1) and, at durability commit, synced (I2): a reader that finds the entry reads at once.
   * @returns false where the table is full and the key is new.
   */
  publish(words: Int32Array, location: EntryLocation, options: PublishOptions): boolean {
    const known = this.findEntryNumber(words, location.space);
    if (known !== -1) {
      this.charge(known * ENTRY_WORDS, -1);
      this.writeEntry(known, words, location, options);
      return true;
    }
    const entryNumber = this.takeEntry();
    if (entryNumber === -1) return false;
    this.writeEntry(entryNumber, words, location, options);
    this.insertSlot(partitionOfKey(words), words, entryNumber);
    Atomics.add(this.control, CONTROL_LIVE_COUNT, 1);
    return true;
  }

  /** @returns whether there was such an entry. */
  remove(words: Int32Array, space: number): boolean {
    const entryNumber = this.findEntryNumber(words, space);
    if (entryNumber === -1) return false;
    // The slot first: no new reader comes to the entry. One that has its number already sees the version change
    // or the key gone.
    Atomics.store(this.slots, this.slotOfEntry(words, entryNumber), SLOT_DELETED);
    const at = entryNumber * ENTRY_WORDS;
    this.charge(at, -1);
    Atomics.add(this.entries, at + ENTRY_VERSION, 1);
    for (let word = ENTRY_KEY; word < ENTRY_WORDS; word += 1) Atomics.store(this.entries, at + word, 0);
    Atomics.add(this.entries, at + ENTRY_VERSION, 1);
    this.freeEntries.push(entryNumber);
    const partition = partitionOfKey(words);
    this.liveInPartition[partition] = (this.liveInPartition[partition] ?? 0) - 1;
    Atomics.sub(this.control, CONTROL_LIVE_COUNT, 1);
    return true;
  }

  /**
   * Removes every entry that points into a segment, without knowing its records: a look at all entries, about 10 ns each.
   * @returns how many there were.
   */
  removeSegment(segmentId: number): number {
    let removedCount = 0;
    for (let at = 0; at < this.entriesTouched * ENTRY_WORDS; at += ENTRY_WORDS) {
      // Of a removed entry it is 0, which is no segment.
      if (this.entries[at + ENTRY_SEGMENT] !== (segmentId | 0)) continue;
      const space = ((this.entries[at + ENTRY_PACKED] ?? 0) >>> 8) & 0xff;
      if (this.remove(this.entries.slice(at + ENTRY_KEY, at + ENTRY_KEY + KEY_WORDS), space)) removedCount += 1;
    }
    return removedCount;
  }

  /** Calls `visit` with each entry of an owner among these rows; it may remove the entry. A look at each row, about 10 ns. */
  visitOwned(owner: number, from: number, to: number, visit: (entry: OwnedEntry) => void): void {
    for (let at = from * ENTRY_WORDS; at < Math.min(to, this.entriesTouched) * ENTRY_WORDS; at += ENTRY_WORDS) {
      const word = (offset: number): number => this.entries[at + offset] ?? 0;
      // Of a removed entry it is 0, which is nobody.
      if (ownerOfMarks(word(ENTRY_MARKS)) !== owner) continue;
      visit({
        words: this.entries.slice(at + ENTRY_KEY, at + ENTRY_KEY + KEY_WORDS),
        space: (word(ENTRY_PACKED) >>> 8) & 0xff,
        segmentId: word(ENTRY_SEGMENT) >>> 0,
        footprintBytes: recordFootprintBytes(unpackStored(word(ENTRY_STORED_LOW), word(ENTRY_PACKED))),
        lastUseSeconds: word(ENTRY_LAST_USE),
      });
    }
  }

  private slotOfEntry(words: Int32Array, entryNumber: number): number {
    const control = partitionControl(partitionOfKey(words));
    const base = Atomics.load(this.control, control + PARTITION_BASE);
    const mask = Atomics.load(this.control, control + PARTITION_SLOT_MASK);
    const slot = slotOf(entryNumber, words[3] ?? 0);
    let position = (words[2] ?? 0) & mask;
    while (Atomics.load(this.slots, base + position) !== slot) position = (position + 1) & mask;
    return base + position;
  }

  /** Entries that were ever used: rows 0 up to here may be live. For checkpoints. */
  get rowCount(): number {
    return this.entriesTouched;
  }

  /** A live view of rows, `ENTRY_WORDS` words each. Only the owning worker may hold it while it writes nothing. */
  rows(from: number, to: number): Int32Array {
    return this.entries.subarray(from * ENTRY_WORDS, to * ENTRY_WORDS);
  }

  /**
   * Adds an entry as a checkpoint saved it, unverified. Called millions of times at a start: no views, no objects.
   * @param at Where the row begins in `rows`, in words.
   * @returns false where the key is there already or the table is full.
   */
  restoreRow(rows: Int32Array, at: number, lastUseSeconds: number): boolean {
    const words = this.restoredKey;
    for (let i = 0; i < KEY_WORDS; i += 1) words[i] = rows[at + ENTRY_KEY + i] ?? 0;
    const space = ((rows[at + ENTRY_PACKED] ?? 0) >>> 8) & 0xff;
    if (this.findEntryNumber(words, space) !== -1) return false;
    const entryNumber = this.takeEntry();
    if (entryNumber === -1) return false;
    const to = entryNumber * ENTRY_WORDS;
    // Plain stores: nobody reads this entry before its slot is stored, atomically, below.
    for (let i = ENTRY_KEY; i < ENTRY_LAST_USE; i += 1) this.entries[to + i] = rows[at + i] ?? 0;
    this.entries[to + ENTRY_VERSION] = 0;
    this.entries[to + ENTRY_LAST_USE] = lastUseSeconds;
    this.entries[to + ENTRY_MARKS] = packMarks(ownerOfMarks(rows[at + ENTRY_MARKS] ?? 0), false);
    this.charge(to, 1);
    this.insertSlot(partitionOfKey(words), words, entryNumber);
    Atomics.add(this.control, CONTROL_LIVE_COUNT, 1);
    return true;
  }

  private takeEntry(): number {
    const reused = this.freeEntries.pop();
    if (reused !== undefined) return reused;
    if (this.entriesTouched === this.entryCountMax) return -1;
    this.entriesTouched += 1;
    return this.entriesTouched - 1;
  }

  private writeEntry(entryNumber: number, words: Int32Array, location: EntryLocation, options: PublishOptions): void {
    const at = entryNumber * ENTRY_WORDS;
    const { entries } = this;
    // Odd while the words change. A reader that copied some old and some new ones sees the version differ.
    Atomics.add(entries, at + ENTRY_VERSION, 1);
    for (let i = 0; i < KEY_WORDS; i += 1) Atomics.store(entries, at + ENTRY_KEY + i, words[i] ?? 0);
    Atomics.store(entries, at + ENTRY_SIZE_LOW, location.sizeBytes | 0);
    Atomics.store(entries, at + ENTRY_STORED_LOW, location.storedBytes | 0);
    Atomics.store(entries, at + ENTRY_PACKED, packWord(location));
    Atomics.store(entries, at + ENTRY_SEGMENT, location.segmentId | 0);
    Atomics.store(entries, at + ENTRY_OFFSET, (location.offset / OFFSET_UNIT_BYTES) | 0);
    Atomics.store(entries, at + ENTRY_LAST_USE, options.lastUseSeconds);
    Atomics.store(entries, at + ENTRY_MARKS, packMarks(location.owner, options.verified));
    Atomics.add(entries, at + ENTRY_VERSION, 1);
    this.charge(at, 1);
  }

  /** Puts the entry on the account of its owner, or takes it off. */
  private charge(at: number, sign: 1 | -1): void {
    const owner = ownerOfMarks(this.entries[at + ENTRY_MARKS] ?? 0);
    if (owner === 0) return;
    const storedBytes = unpackStored(this.entries[at + ENTRY_STORED_LOW] ?? 0, this.entries[at + ENTRY_PACKED] ?? 0);
    this.owned[owner] = this.ownedBytes(owner) + sign * recordFootprintBytes(storedBytes);
  }

  private insertSlot(partition: number, words: Int32Array, entryNumber: number): void {
    const control = partitionControl(partition);
    let mask = Atomics.load(this.control, control + PARTITION_SLOT_MASK);
    if (((this.usedSlots[partition] ?? 0) + 1) * 4 > (mask + 1) * 3) {
      // Mostly deleted slots: the same size swept clean; mostly live ones: twice the size.
      const live = this.liveInPartition[partition] ?? 0;
      this.rebuildTable(partition, live * 2 > mask + 1 ? (mask + 1) * 2 : mask + 1);
      mask = Atomics.load(this.control, control + PARTITION_SLOT_MASK);
    }
    const base = Atomics.load(this.control, control + PARTITION_BASE);
    if (this.placeSlot(base, mask, words[2] ?? 0, slotOf(entryNumber, words[3] ?? 0))) {
      this.usedSlots[partition] = (this.usedSlots[partition] ?? 0) + 1;
    }
    this.liveInPartition[partition] = (this.liveInPartition[partition] ?? 0) + 1;
  }

  /** @returns whether the slot had never been used. */
  private placeSlot(base: number, mask: number, hashWord: number, newSlot: number): boolean {
    let position = hashWord & mask;
    for (;;) {
      const slot = Atomics.load(this.slots, base + position);
      if (slot === SLOT_EMPTY || slot === SLOT_DELETED) {
        // The entry was written before: a reader that sees the slot sees the entry.
        Atomics.store(this.slots, base + position, newSlot);
        return slot === SLOT_EMPTY;
      }
      position = (position + 1) & mask;
    }
  }

  private installTable(partition: number, slotCount: number): void {
    const control = partitionControl(partition);
    Atomics.store(this.control, control + PARTITION_BASE, this.allocator.allocate(slotCount));
    Atomics.store(this.control, control + PARTITION_SLOT_MASK, slotCount - 1);
  }

  /** Copies the live slots to a new table, then swaps; readers follow by the generation (see IndexReader.findSlot). */
  private rebuildTable(partition: number, slotCount: number): void {
    const control = partitionControl(partition);
    const oldBase = Atomics.load(this.control, control + PARTITION_BASE);
    const oldCount = Atomics.load(this.control, control + PARTITION_SLOT_MASK) + 1;
    const base = this.allocator.allocate(slotCount);
    let live = 0;
    for (let position = oldBase; position < oldBase + oldCount; position += 1) {
      const slot = Atomics.load(this.slots, position);
      if (slot === SLOT_EMPTY || slot === SLOT_DELETED) continue;
      const hashWord = Atomics.load(this.entries, slotEntry(slot) * ENTRY_WORDS + ENTRY_KEY + 2);
      this.placeSlot(base, slotCount - 1, hashWord, slot);
      live += 1;
    }
    this.usedSlots[partition] = live;
    // Odd while base and mask change: a reader between these stores would pair the one with the other's table.
    Atomics.add(this.control, control + PARTITION_GENERATION, 1);
    Atomics.store(this.control, control + PARTITION_BASE, base);
    Atomics.store(this.control, control + PARTITION_SLOT_MASK, slotCount - 1);
    Atomics.add(this.control, control + PARTITION_GENERATION, 1);
    this.allocator.free(oldBase, oldCount);
  }
}
