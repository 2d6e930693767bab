import { SLOT_EMPTY } from "./index-layout.ts";

/**
 * Buddy allocator of slot tables within one shard's `slots` buffer: sizes are powers of two, a table starts at a
 * multiple of its size, and freed neighbours merge, so that the room of outgrown tables serves the next growth.
 * Used by the owning worker only; its books are ordinary memory.
 */
export class SlotTableAllocator {
  private readonly slots: Int32Array;
  private readonly freeBySize = new Map<number, Set<number>>();
  private touchedEnd = 0;

  constructor(slots: Int32Array) {
    this.slots = slots;
  }

  /**
   * @returns position of a table of `slotCount` empty slots.
   * @throws {RangeError} where the buffer is used up, which its reservation rules out (see allocateIndexBuffers).
   */
  allocate(slotCount: number): number {
    const freed = this.takeFree(slotCount);
    if (freed !== undefined) {
      // Readers may still walk it from its former life: they check what they find against the entries.
      this.slots.fill(SLOT_EMPTY, freed, freed + slotCount);
      return freed;
    }
    while (this.touchedEnd % slotCount !== 0) {
      const gap = this.touchedEnd & -this.touchedEnd;
      this.free(this.touchedEnd, gap);
      this.touchedEnd += gap;
    }
    const base = this.touchedEnd;
    if (base + slotCount > this.slots.length) {
      throw new RangeError(`slot tables: ${slotCount} slots wanted, ${this.slots.length - base} left`);
    }
    this.touchedEnd += slotCount;
    return base;
  }

  free(base: number, slotCount: number): void {
    const buddy = base ^ slotCount;
    const peers = this.freeOfSize(slotCount);
    if (peers.delete(buddy)) this.free(Math.min(base, buddy), slotCount * 2);
    else peers.add(base);
  }

  private takeFree(slotCount: number): number | undefined {
    for (let size = slotCount; size <= this.touchedEnd; size *= 2) {
      const peers = this.freeOfSize(size);
      const base = peers.values().next().value;
      if (base === undefined) continue;
      peers.delete(base);
      for (let half = size / 2; half >= slotCount; half /= 2) this.freeOfSize(half).add(base + half);
      return base;
    }
    return undefined;
  }

  private freeOfSize(slotCount: number): Set<number> {
    let peers = this.freeBySize.get(slotCount);
    if (peers === undefined) {
      peers = new Set();
      this.freeBySize.set(slotCount, peers);
    }
    return peers;
  }
}
