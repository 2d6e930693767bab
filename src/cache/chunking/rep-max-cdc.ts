import type { CutRule } from "./cut-rule.ts";
import { type GearTable, gearTable } from "./gear-table.ts";

export interface RepMaxCdcParameters {
  /** At least 64; chunks are shorter than twice as much. */
  readonly minBytes: number;
  /** How far behind the smallest chunk a better place to cut is looked for. */
  readonly horizonBytes: number;
}

/** So many bytes before a place make its hash: older ones have been shifted out. */
const HASH_BYTES = 64;
/** The highest hash is remembered of so many bytes. */
const BLOCK_BYTES = 1024;

/**
 * RepMaxCDC (`ChunkingFunction.Value` 2): a gear hash is taken at every place, and the place with the highest one, the
 * first of several, is a cut:
 *
 *     0 ───── min ───────────────────────── min + horizon ───── window
 *      no cut  │ ◄─── the highest hash ───► │ the next chunk has
 *              │  x1         x2        x3   │ the smallest size, too
 *
 * Where that place (x3) is twice the smallest size away or more, there is another cut before it: the highest hash (x2) of
 * those that leave a whole chunk between, and so on until one (x1) is near enough. Only a hash that is higher than all
 * before it can be any of these, and these are few.
 *
 * Every hash is computed about once: of what the next chunks look at again, the highest hash of each block is known.
 */
export class RepMaxCdc implements CutRule {
  readonly windowBytes: number;
  readonly #minBytes: number;
  readonly #gear: GearTable = gearTable(0);
  readonly #blockMaxima: BlockMaxima;
  /** Bytes of the content before the chunk that is cut. */
  #startInContent = 0;

  constructor({ minBytes, horizonBytes }: RepMaxCdcParameters) {
    if (minBytes < HASH_BYTES)
      throw new RangeError(`RepMaxCDC: expected at least ${HASH_BYTES} bytes, got ${minBytes}`);
    this.windowBytes = 2 * minBytes + horizonBytes;
    this.#minBytes = minBytes;
    this.#blockMaxima = new BlockMaxima(Math.ceil(this.windowBytes / BLOCK_BYTES) + 1);
  }

  cut(bytes: Uint8Array, start: number, end: number): number {
    const sizeBytes = this.#chunkBytes(bytes, start, end - start);
    this.#startInContent += sizeBytes;
    return start + sizeBytes;
  }

  #chunkBytes(bytes: Uint8Array, start: number, windowBytes: number): number {
    const minBytes = this.#minBytes;
    if (windowBytes < 2 * minBytes) return windowBytes;
    const records = this.#records(bytes, start, windowBytes - minBytes);
    let chunkBytes = records.at(-1) ?? minBytes;
    while (chunkBytes >= 2 * minBytes) {
      const bytesMax = chunkBytes - minBytes;
      chunkBytes = records.findLast((place) => place <= bytesMax) ?? minBytes;
    }
    return chunkBytes;
  }

  /** Places from the smallest size up to `last`, counted from `start`, whose hash is higher than all before. */
  #records(bytes: Uint8Array, start: number, last: number): number[] {
    const records: number[] = [];
    const search = new RecordSearch(this.#gear, bytes, start);
    search.skipTo(this.#minBytes - 1);
    while (search.place < last) {
      const inContent = this.#startInContent + search.place;
      const block = Math.floor(inContent / BLOCK_BYTES);
      const blockEnd = search.place - inContent + (block + 1) * BLOCK_BYTES;
      const isWhole = inContent % BLOCK_BYTES === 0 && blockEnd <= last;
      if (isWhole && this.#blockMaxima.isAtMost(block, search.bestHigh, search.bestLow)) {
        search.skipTo(blockEnd);
        continue;
      }
      search.run(Math.min(blockEnd, last), records);
      if (isWhole) this.#blockMaxima.set(block, search.runHigh, search.runLow);
    }
    return records;
  }
}

/** The highest hash of each of the latest blocks of a content. */
class BlockMaxima {
  readonly #blocks: Float64Array;
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;

  constructor(blockCount: number) {
    this.#blocks = new Float64Array(blockCount).fill(-1);
    this.#high = new Uint32Array(blockCount);
    this.#low = new Uint32Array(blockCount);
  }

  set(block: number, high: number, low: number): void {
    const slot = block % this.#blocks.length;
    this.#blocks[slot] = block;
    this.#high[slot] = high;
    this.#low[slot] = low;
  }

  /** Whether it is known, and no higher than this. */
  isAtMost(block: number, high: number, low: number): boolean {
    const slot = block % this.#blocks.length;
    if (this.#blocks[slot] !== block) return false;
    const ownHigh = this.#high[slot] ?? 0;
    return ownHigh < high || (ownHigh === high && (this.#low[slot] ?? 0) <= low);
  }
}

/** Goes over the places of a window, by their hashes. */
class RecordSearch {
  readonly #gear: GearTable;
  readonly #bytes: Uint8Array;
  readonly #start: number;
  /** Behind so many bytes of the window. */
  place = 0;
  #high = 0;
  #low = 0;
  #hasHash = false;
  /** The highest hash so far, unsigned. */
  bestHigh = -1;
  bestLow = 0;
  /** The highest hash of the last run, unsigned. */
  runHigh = 0;
  runLow = 0;

  constructor(gear: GearTable, bytes: Uint8Array, start: number) {
    this.#gear = gear;
    this.#bytes = bytes;
    this.#start = start;
  }

  skipTo(place: number): void {
    this.place = place;
    this.#hasHash = false;
  }

  /** Takes the bytes up to `end`, and adds the places behind them that are higher than any so far. */
  run(end: number, records: number[]): void {
    const { high: gearHigh, low: gearLow } = this.#gear;
    const bytes = this.#bytes;
    const start = this.#start;
    if (!this.#hasHash) this.#warmUp();
    let high = this.#high;
    let low = this.#low;
    let runHigh = -1;
    let runLow = 0;
    for (let place = this.place; place < end; place += 1) {
      const byte = bytes[start + place] ?? 0;
      const gear = gearLow[byte] ?? 0;
      const shifted = (high << 1) | (low >>> 31);
      low = ((low << 1) + gear) | 0;
      high = (shifted + (gearHigh[byte] ?? 0) + (low >>> 0 < gear >>> 0 ? 1 : 0)) | 0;
      if (high >>> 0 < runHigh || (high >>> 0 === runHigh && low >>> 0 <= runLow)) continue;
      runHigh = high >>> 0;
      runLow = low >>> 0;
      if (runHigh < this.bestHigh || (runHigh === this.bestHigh && runLow <= this.bestLow)) continue;
      this.bestHigh = runHigh;
      this.bestLow = runLow;
      records.push(place + 1);
    }
    this.place = end;
    this.#high = high;
    this.#low = low;
    this.runHigh = runHigh;
    this.runLow = runLow;
  }

  /** The hash at a place is that of the bytes before it. */
  #warmUp(): void {
    const { high: gearHigh, low: gearLow } = this.#gear;
    let high = 0;
    let low = 0;
    for (let at = this.#start + this.place - HASH_BYTES + 1; at < this.#start + this.place; at += 1) {
      const byte = this.#bytes[at] ?? 0;
      const gear = gearLow[byte] ?? 0;
      const shifted = (high << 1) | (low >>> 31);
      low = ((low << 1) + gear) | 0;
      high = (shifted + (gearHigh[byte] ?? 0) + (low >>> 0 < gear >>> 0 ? 1 : 0)) | 0;
    }
    this.#high = high;
    this.#low = low;
    this.#hasHash = true;
  }
}
