import { GenerationCache } from "../cache/generation-cache.ts";
import { HotRecord } from "./hot-record.ts";
import type { FoundEntry } from "./index/index-reader.ts";
import { type LentChunk, ownPiece } from "./segment/chunk-buffers.ts";

/** Where a record was read. */
interface Place {
  readonly segmentId: number;
  readonly offset: number;
}

/** Smaller payloads are copied together: memory of its own costs a small one more than its bytes. */
const OWN_MEMORY_BYTES_MIN = 4096;
const SLAB_BYTES = 64 * 1024;
/** What a record takes besides its payload: two objects, a view, and its place in the table. */
const OVERHEAD_BYTES = 320;
/** Larger ones are left to the page cache: they would take the room of too many others. */
const PAYLOAD_BYTES_MAX = 256 * 1024;
/** Up to this size the call to read a payload costs more than its bytes, so that it is kept at once. */
const SMALL_BYTES_MAX = 64 * 1024;
/** A small budget is not spent on a few large records. */
const RECORDS_MIN = 64;
/** Entry numbers have 26 bits, shard numbers 6. */
const SHARDS_MAX = 64;

/**
 * Payloads of small records that were read lately and are known to be good, bounded by their bytes. Nothing stale is
 * ever served: a record is found by way of the index, and only where the index still says that it lies where it was
 * read from. Segment ids are not used twice, and no record is written over, so the place names the bytes.
 *
 * Larger records are kept when they are read for the second time, before as many bytes of others were: whoever reads more
 * than there is room for, each thing once, drives out nothing.
 *
 *     key ─► index ─► entry number, segment, offset ─┬─ the same place as here ─► payload
 *                                                    └─ another: replaced, moved, or another key's ─► read
 */
export class HotRecords {
  /** For all records, overheads included. */
  readonly bytesMax: number;
  /** The largest payload that is kept; 0: none is. */
  readonly payloadBytesMax: number;
  /** The largest that is kept at its first read. */
  readonly smallBytesMax: number;
  readonly #records: GenerationCache<number, HotRecord>;
  /** Larger records that were read lately. */
  readonly #seen: GenerationCache<number, Place>;
  #slab = Buffer.alloc(0);
  #slabUsed = 0;

  constructor(bytesMax: number) {
    // Each generation may have begun in a slab of the one before and end in one that is all but empty; and up to a
    // sixteenth of the others is too small for the payload that came next.
    const costMax = Math.max(0, Math.floor((bytesMax - 4 * SLAB_BYTES) * (1 - OWN_MEMORY_BYTES_MIN / SLAB_BYTES)));
    this.bytesMax = costMax;
    this.payloadBytesMax = Math.min(PAYLOAD_BYTES_MAX, Math.floor(costMax / RECORDS_MIN));
    this.smallBytesMax = Math.min(SMALL_BYTES_MAX, this.payloadBytesMax);
    this.#seen = new GenerationCache({ costMax });
    this.#records = new GenerationCache({
      costMax,
      carry: (record) => (record.isShared ? this.#recordOf(record, record.payload) : record),
      onForgotten: (record) => record.forget(),
      onGeneration: () => {
        this.#slab = Buffer.alloc(0);
        this.#slabUsed = 0;
      },
    });
  }

  /** Bytes held, with what the records take besides. */
  get bytes(): number {
    return this.#records.cost;
  }

  /** The payload of the record that the index has just been found to point to. It must not be changed. */
  get(shardIndex: number, found: FoundEntry): LentChunk | undefined {
    return this.#find(shardIndex, found)?.lend();
  }

  /** Whether {@link get} has it. */
  has(shardIndex: number, found: FoundEntry): boolean {
    return this.#find(shardIndex, found) !== undefined;
  }

  /** Whether a record that is about to be read is to be added. A larger one is remembered then. */
  admits(shardIndex: number, { entryNumber, segmentId, offset, storedBytes }: FoundEntry): boolean {
    if (storedBytes <= this.smallBytesMax) return true;
    if (storedBytes > this.payloadBytesMax) return false;
    const key = recordKey(shardIndex, entryNumber);
    const seen = this.#seen.get(key);
    if (seen !== undefined && seen.offset === offset && seen.segmentId === segmentId) return true;
    this.#seen.set(key, { segmentId, offset }, storedBytes);
    return false;
  }

  /**
   * @param payload whole and checked; larger ones than {@link payloadBytesMax} are not taken.
   * @returns the payload, as {@link get} would give it. It may be freed with that: nobody else may look at it.
   */
  add(shardIndex: number, found: FoundEntry, payload: Buffer): LentChunk {
    if (payload.length > this.payloadBytesMax) return ownPiece(payload);
    const record = this.#recordOf(found, payload);
    const lent = record.lend();
    this.#records.set(recordKey(shardIndex, found.entryNumber), record, payload.length + OVERHEAD_BYTES);
    return lent;
  }

  /** Lets go of a record that was taken out of the index. */
  drop(shardIndex: number, entryNumber: number): void {
    this.#records.delete(recordKey(shardIndex, entryNumber));
  }

  /** Lets go of the records of a segment that was retired. */
  retire(segmentId: number): void {
    this.#records.deleteWhere((record) => record.segmentId === segmentId);
  }

  #find(shardIndex: number, { entryNumber, segmentId, offset }: FoundEntry): HotRecord | undefined {
    const record = this.#records.get(recordKey(shardIndex, entryNumber));
    return record !== undefined && record.offset === offset && record.segmentId === segmentId ? record : undefined;
  }

  /** What has no memory of its own is copied: a view would keep alive whatever its memory was shared with. */
  #recordOf({ segmentId, offset }: Place, payload: Buffer): HotRecord {
    const isShared = payload.length < OWN_MEMORY_BYTES_MIN;
    if (isShared) return new HotRecord(segmentId, offset, this.#copied(payload), isShared);
    const isOwn = payload.buffer.byteLength === payload.length;
    return new HotRecord(segmentId, offset, isOwn ? payload : copyOf(payload), isShared);
  }

  #copied(payload: Buffer): Buffer {
    if (this.#slabUsed + payload.length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slabUsed = 0;
    }
    const kept = this.#slab.subarray(this.#slabUsed, this.#slabUsed + payload.length);
    payload.copy(kept);
    this.#slabUsed += payload.length;
    return kept;
  }
}

/** @returns memory to read a payload into that is to be added. */
export function memoryForPayload(bytes: number): Buffer {
  return bytes < OWN_MEMORY_BYTES_MIN ? Buffer.allocUnsafe(bytes) : Buffer.allocUnsafeSlow(bytes);
}

function copyOf(payload: Buffer): Buffer {
  const copy = memoryForPayload(payload.length);
  payload.copy(copy);
  return copy;
}

function recordKey(shardIndex: number, entryNumber: number): number {
  return entryNumber * SHARDS_MAX + shardIndex;
}
