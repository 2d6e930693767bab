import type { CutRule } from "./cut-rule.ts";
import { doubled, type GearTable, gearTable } from "./gear-table.ts";

export interface FastCdcParameters {
  /** A power of two from 1 KiB to 1 MiB; chunks have from a quarter of it to four times it. */
  readonly avgBytes: number;
  /** 32 bits, mixed into the gear table. */
  readonly seed: number;
}

export interface FastCdcSizes {
  readonly minBytes: number;
  readonly avgBytes: number;
  readonly maxBytes: number;
}

/** Where a mask has its bits decides how far back a cut looks; the number of bits, how likely it is. Of 5 bits and up. */
const MASKS: readonly bigint[] = [
  0x1804110n,
  0x1803110n,
  0x18035100n,
  0x1800035300n,
  0x19000353000n,
  0x590003530000n,
  0xd90003530000n,
  0xd90103530000n,
  0xd90303530000n,
  0xd90313530000n,
  0xd90f03530000n,
  0xd90303537000n,
  0xd90703537000n,
  0xd90707537000n,
  0xd91707537000n,
  0xd91747537000n,
  0xd91767537000n,
  0xd93767537000n,
  0xd93777537000n,
  0xd93777577000n,
  0xdb3777577000n,
];
const MASK_BITS_MIN = 5;
/** Chunks come close to the average because cuts are so many bits less likely before it, and more likely behind it. */
const NORMALIZATION_LEVEL = 2;

/** A mask and its double, in halves. */
interface MaskWords {
  readonly high: number;
  readonly low: number;
  readonly doubledHigh: number;
  readonly doubledLow: number;
}

export function fastCdcSizes({ avgBytes }: FastCdcParameters): FastCdcSizes {
  return { minBytes: avgBytes / 4, avgBytes, maxBytes: avgBytes * 4 };
}

/**
 * FastCDC 2020 (`ChunkingFunction.Value` 1): a rolling hash, a gear table entry a byte, is taken from the smallest
 * size on, and a chunk ends where the hash has zeros under a mask:
 *
 *     0 ─────── min ─────────── avg ────────────────────── max
 *       no cut      strict mask         loose mask           cut
 *
 * Two bytes are taken a step: the hash is shifted by two, the first byte's doubled entry added and held against the
 * doubled mask, then the second byte's entry against the mask itself.
 */
export class FastCdc2020 implements CutRule {
  readonly windowBytes: number;
  readonly #minBytes: number;
  readonly #avgBytes: number;
  readonly #gear: GearTable;
  readonly #doubledGear: GearTable;
  readonly #strictMask: MaskWords;
  readonly #looseMask: MaskWords;
  /** The hash carries over from the strict part of a chunk to the loose one. */
  #hashHigh = 0;
  #hashLow = 0;

  constructor({ minBytes, avgBytes, maxBytes }: FastCdcSizes, seed: number) {
    this.windowBytes = maxBytes;
    this.#minBytes = minBytes;
    this.#avgBytes = avgBytes;
    this.#gear = gearTable(seed);
    this.#doubledGear = doubled(this.#gear);
    const bits = Math.round(Math.log2(avgBytes));
    this.#strictMask = maskWords(bits + NORMALIZATION_LEVEL);
    this.#looseMask = maskWords(bits - NORMALIZATION_LEVEL);
  }

  cut(bytes: Uint8Array, start: number, end: number): number {
    if (end - start <= this.#minBytes) return end;
    this.#hashHigh = 0;
    this.#hashLow = 0;
    const from = start + evenBelow(this.#minBytes);
    const middle = start + evenBelow(Math.min(this.#avgBytes, end - start));
    return (
      this.#search(bytes, from, middle, this.#strictMask) ??
      this.#search(bytes, Math.max(from, middle), start + evenBelow(end - start), this.#looseMask) ??
      end
    );
  }

  /** @returns the first place from `from` to `to` where the hash is zero under the mask. */
  #search(bytes: Uint8Array, from: number, to: number, mask: MaskWords): number | undefined {
    const { high: gearHigh, low: gearLow } = this.#gear;
    const { high: doubledHigh, low: doubledLow } = this.#doubledGear;
    let high = this.#hashHigh;
    let low = this.#hashLow;
    for (let at = from; at < to; at += 2) {
      const first = bytes[at] ?? 0;
      const firstGear = doubledLow[first] ?? 0;
      const shiftedHigh = (high << 2) | (low >>> 30);
      low = ((low << 2) + firstGear) | 0;
      // A sum that is smaller than what was added has a carry.
      high = (shiftedHigh + (doubledHigh[first] ?? 0) + (low >>> 0 < firstGear >>> 0 ? 1 : 0)) | 0;
      if (((high & mask.doubledHigh) | (low & mask.doubledLow)) === 0) return at;
      const second = bytes[at + 1] ?? 0;
      const secondGear = gearLow[second] ?? 0;
      low = (low + secondGear) | 0;
      high = (high + (gearHigh[second] ?? 0) + (low >>> 0 < secondGear >>> 0 ? 1 : 0)) | 0;
      if (((high & mask.high) | (low & mask.low)) === 0) return at + 1;
    }
    this.#hashHigh = high;
    this.#hashLow = low;
    return undefined;
  }
}

function evenBelow(count: number): number {
  return count - (count % 2);
}

function maskWords(bits: number): MaskWords {
  const mask = MASKS[bits - MASK_BITS_MIN];
  if (mask === undefined) throw new RangeError(`FastCDC: no mask of ${bits} bits`);
  const word = (value: bigint, shift: bigint): number => Number(BigInt.asIntN(32, value >> shift));
  return {
    high: word(mask, 32n),
    low: word(mask, 0n),
    doubledHigh: word(mask << 1n, 32n),
    doubledLow: word(mask << 1n, 0n),
  };
}
