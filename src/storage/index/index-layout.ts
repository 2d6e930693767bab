/**
 * Shared-memory layout of one shard's part of the index. Every word is accessed with Atomics: a sequence lock is
 * only sound where neither the compiler nor a weakly ordered CPU may move the data accesses out of the bracket, and
 * JavaScript has no fences. On x86 an atomic load is an ordinary load.
 *
 *   control  Int32Array: named words, then one group of PARTITION_WORDS per partition
 *   slots    Int32Array: open-addressing tables of entry numbers, one table per partition, each a power of two long
 *   entries  Int32Array: ENTRY_WORDS words an entry, dense: entry n lies at n * ENTRY_WORDS
 *
 *   slot value   0 never used · 1 deleted · else tag (6 bits) · n+2 of entry n (26 bits)
 *
 * The tag is part of the key: a search looks at an entry, which is a cache miss, only where the tag agrees.
 *
 * An entry is dense so that memory grows with the number of entries (64 bytes each), and only the small slot tables
 * (4 bytes a slot, at most three quarters full) pay for the empty room that hashing needs. The buffers are reserved
 * at their largest size at the start; pages that were never touched cost address space, not memory.
 *
 *   entry   0        1..8   9         10          11                          12       13      14        15
 *         version    key  size lo  stored lo  size hi·stored hi·space·enc  segment  offset/8  last use  marks
 *                                              (8 bits each, high to low)
 *
 *   marks    high to low: the owner (16 bits), which the writer sets, and what readers may mark
 *
 *   owned    Float64Array: bytes on disk by owner, of what the index points to. Doubles, not atomics: of an owner there is
 *            one sum a shard, which its worker alone writes
 */
export const ENTRY_WORDS = 16;
export const ENTRY_BYTES = ENTRY_WORDS * 4;

export const ENTRY_VERSION = 0;
export const ENTRY_KEY = 1;
export const ENTRY_SIZE_LOW = 9;
export const ENTRY_STORED_LOW = 10;
export const ENTRY_PACKED = 11;
export const ENTRY_SEGMENT = 12;
export const ENTRY_OFFSET = 13;
/** Seconds since the epoch; written by readers, outside of the sequence lock. */
export const ENTRY_LAST_USE = 14;
/** The owner, and bits that readers may set, outside of the sequence lock. */
export const ENTRY_MARKS = 15;

/** The record's checksums were seen to hold since this process started. */
export const MARK_VERIFIED = 1;
const OWNER_SHIFT = 16;
/** Owners that there can be, nobody included. */
export const OWNER_COUNT = 2 ** 16;

export function packMarks(owner: number, verified: boolean): number {
  return (owner << OWNER_SHIFT) | (verified ? MARK_VERIFIED : 0);
}

export function ownerOfMarks(marks: number): number {
  return marks >>> OWNER_SHIFT;
}

export const SLOT_EMPTY = 0;
export const SLOT_DELETED = 1;
const SLOT_ENTRY_BITS = 26;
const SLOT_ENTRY_MASK = 2 ** SLOT_ENTRY_BITS - 1;
/** Entries that one shard can have. */
export const ENTRIES_PER_SHARD_MAX = SLOT_ENTRY_MASK - 1;

/** The slot of an entry whose key has this fourth word. */
export function slotOf(entryNumber: number, keyWord3: number): number {
  return (keyWord3 << SLOT_ENTRY_BITS) | (entryNumber + 2);
}

export function slotEntry(slot: number): number {
  return (slot & SLOT_ENTRY_MASK) - 2;
}

/** Whether a used slot may be that of a key with this fourth word. */
export function slotTagMatches(slot: number, keyWord3: number): boolean {
  return slot >>> SLOT_ENTRY_BITS === (keyWord3 & 0x3f);
}

/** Tables are split so that growing one stalls its shard for milliseconds, not for the whole index. */
export const PARTITION_COUNT = 64;
export const PARTITION_SLOTS_MIN = 64;

export const CONTROL_LIVE_COUNT = 0;
const CONTROL_WORDS = 8;

/** Bumped after a partition's table has moved. */
export const PARTITION_GENERATION = 0;
export const PARTITION_BASE = 1;
export const PARTITION_SLOT_MASK = 2;
const PARTITION_WORDS = 4;

/** Record offsets are kept in units of 8 bytes, so a segment may be 16 GiB (signed word), sizes up to 1 TiB. */
export const OFFSET_UNIT_BYTES = 8;
export const SIZE_BYTES_MAX = 2 ** 40 - 1;
const UINT32 = 2 ** 32;

export interface IndexBuffers {
  readonly control: SharedArrayBuffer;
  readonly slots: SharedArrayBuffer;
  readonly entries: SharedArrayBuffer;
  readonly owned: SharedArrayBuffer;
}

/** Reserves the buffers of one shard for `entryCountMax` entries. */
export function allocateIndexBuffers(entryCountMax: number): IndexBuffers {
  // A partition doubles at three quarters full and frees its old table for the others: with the largest table at
  // most 8/3 of the partition's share, twice that holds every mix of old and new tables.
  const slotCountMax = 2 ** Math.ceil(Math.log2(Math.max(entryCountMax, PARTITION_COUNT * PARTITION_SLOTS_MIN) * 6));
  return {
    control: new SharedArrayBuffer((CONTROL_WORDS + PARTITION_COUNT * PARTITION_WORDS) * 4),
    slots: new SharedArrayBuffer(slotCountMax * 4),
    entries: new SharedArrayBuffer(entryCountMax * ENTRY_BYTES),
    owned: new SharedArrayBuffer(OWNER_COUNT * 8),
  };
}

/** Where an entry's bytes lie, and what the record says of them. */
export interface EntryLocation {
  readonly space: number;
  readonly encoding: number;
  /** Bytes of the value as its key means it. */
  readonly sizeBytes: number;
  /** Bytes of the payload on disk. */
  readonly storedBytes: number;
  /** Whose account it is on; 0: nobody's. */
  readonly owner: number;
  readonly segmentId: number;
  /** Of the record's header, from the start of the segment. */
  readonly offset: number;
}

export function packWord(location: EntryLocation): number {
  const sizeHigh = Math.floor(location.sizeBytes / UINT32);
  const storedHigh = Math.floor(location.storedBytes / UINT32);
  return (sizeHigh << 24) | (storedHigh << 16) | (location.space << 8) | location.encoding;
}

/** Inverse of {@link packWord} and the low words. */
export function unpackLocation(
  sizeLow: number,
  storedLow: number,
  packed: number,
  segmentId: number,
  offsetUnits: number,
  marks: number,
): EntryLocation {
  return {
    space: (packed >>> 8) & 0xff,
    encoding: packed & 0xff,
    sizeBytes: unpackSize(sizeLow, packed),
    storedBytes: unpackStored(storedLow, packed),
    owner: ownerOfMarks(marks),
    segmentId: segmentId >>> 0,
    offset: (offsetUnits >>> 0) * OFFSET_UNIT_BYTES,
  };
}

/** The size alone. */
export function unpackSize(sizeLow: number, packed: number): number {
  return (packed >>> 24) * UINT32 + (sizeLow >>> 0);
}

export function unpackStored(storedLow: number, packed: number): number {
  return ((packed >>> 16) & 0xff) * UINT32 + (storedLow >>> 0);
}

/** I4: the shard of a key is a pure function of the key and the shard count. */
export function shardOfKey(words: Int32Array, shardCount: number): number {
  return ((words[0] ?? 0) >>> 0) % shardCount;
}

export function partitionOfKey(words: Int32Array): number {
  return (words[1] ?? 0) & (PARTITION_COUNT - 1);
}

export function partitionControl(partition: number): number {
  return CONTROL_WORDS + partition * PARTITION_WORDS;
}
