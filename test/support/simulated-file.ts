import type { SeededRandom } from "./seeded-random.ts";

/** What a disk writes whole or not at all. */
const SECTOR_BYTES = 512;

/** How much of what was never synced a power cut leaves: a share of 0 to 1. */
export interface PowerCut {
  readonly random: SeededRandom;
  readonly survival: number;
}

/**
 * One file, as the page cache has it and as the platter has it.
 *
 *   now      what every process reads and writes
 *   durable  what a power cut leaves of the clean sectors; each dirty one is found in either state
 */
export class SimulatedFile {
  #now = Buffer.alloc(0);
  #durable = Buffer.alloc(0);
  #sizeBytes = 0;
  #durableBytes = 0;
  #sizesSinceSync: number[] = [];
  readonly #dirty = new Set<number>();

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** @returns bytes read. */
  read(target: Uint8Array, position: number): number {
    const end = Math.min(this.#sizeBytes, position + target.byteLength);
    if (position >= end) return 0;
    target.set(this.#now.subarray(position, end));
    return end - position;
  }

  write(source: Uint8Array, position: number): void {
    const end = position + source.byteLength;
    this.#now = withRoom(this.#now, end);
    this.#now.set(source, position);
    this.#touch(Math.min(position, this.#sizeBytes), end);
    if (end > this.#sizeBytes) this.#resize(end);
  }

  truncate(bytes: number): void {
    this.#now = withRoom(this.#now, bytes);
    if (bytes < this.#sizeBytes) this.#now.fill(0, bytes, this.#sizeBytes);
    this.#touch(Math.min(bytes, this.#sizeBytes), Math.max(bytes, this.#sizeBytes));
    this.#resize(bytes);
  }

  sync(): void {
    this.#durable = withRoom(this.#durable, this.#sizeBytes);
    for (const sector of this.#dirty) this.#copySector(sector, this.#durable);
    if (this.#sizeBytes < this.#durableBytes) this.#durable.fill(0, this.#sizeBytes, this.#durableBytes);
    this.#durableBytes = this.#sizeBytes;
    this.#sizesSinceSync = [];
    this.#dirty.clear();
  }

  /** What the kernel does when a write-back fails: the pages count as clean, and the next sync succeeds. */
  dropDirty(): void {
    this.#dirty.clear();
  }

  /** Power is gone: what was not synced is there or not, sector by sector, under any size that the file has had. */
  cutPower({ random, survival }: PowerCut): void {
    const survives = (): boolean => random.fraction() < survival;
    const sizes = this.#sizesSinceSync;
    const sizeBytes = sizes.length > 0 && survives() ? random.pick(sizes) : this.#durableBytes;
    this.#durable = withRoom(this.#durable, sizeBytes);
    for (const sector of this.#dirty) {
      if (sector * SECTOR_BYTES < sizeBytes && survives()) this.#copySector(sector, this.#durable);
    }
    if (sizeBytes < this.#durable.length) this.#durable.fill(0, sizeBytes);
    this.#durableBytes = sizeBytes;
    this.#sizeBytes = sizeBytes;
    this.#now = Buffer.from(this.#durable);
    this.#sizesSinceSync = [];
    this.#dirty.clear();
  }

  /** Bit rot: on the platter and for every later read. */
  damage(position: number, mask: number): void {
    this.#now.writeUInt8(this.#now.readUInt8(position) ^ mask, position);
    if (position < this.#durableBytes) {
      this.#durable.writeUInt8(this.#durable.readUInt8(position) ^ mask, position);
    }
  }

  /** Whether a power cut would change nothing. */
  get isDurable(): boolean {
    return (
      this.#sizeBytes === this.#durableBytes &&
      this.#now.subarray(0, this.#sizeBytes).equals(this.#durable.subarray(0, this.#sizeBytes))
    );
  }

  #resize(bytes: number): void {
    this.#sizeBytes = bytes;
    this.#sizesSinceSync.push(bytes);
  }

  #touch(from: number, to: number): void {
    for (let sector = Math.floor(from / SECTOR_BYTES); sector * SECTOR_BYTES < to; sector += 1) this.#dirty.add(sector);
  }

  #copySector(sector: number, target: Buffer): void {
    const start = sector * SECTOR_BYTES;
    const end = Math.min(start + SECTOR_BYTES, target.length);
    if (start >= end) return;
    const copied = this.#now.copy(target, start, start, Math.min(end, this.#now.length));
    target.fill(0, start + copied, end);
  }
}

/** A buffer of at least `bytes`, zeros behind what it held. */
function withRoom(buffer: Buffer<ArrayBuffer>, bytes: number): Buffer<ArrayBuffer> {
  if (bytes <= buffer.length) return buffer;
  const grown = Buffer.alloc(Math.max(bytes, buffer.length * 2, 4096));
  buffer.copy(grown);
  return grown;
}
