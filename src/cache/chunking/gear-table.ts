import { hash } from "node:crypto";

/** 64-bit numbers in two halves, as `int32` each: what JavaScript calculates with fast. */
export interface GearTable {
  readonly high: Int32Array;
  readonly low: Int32Array;
}

const BYTE_VALUES = 256;

/** A number for each value of a byte: the first eight bytes of the MD5 of 64 bytes of that value. @param seed 32 bits. */
export function gearTable(seed: number): GearTable {
  const high = new Int32Array(BYTE_VALUES);
  const low = new Int32Array(BYTE_VALUES);
  for (let value = 0; value < BYTE_VALUES; value += 1) {
    const digest = hash("md5", Buffer.alloc(64, value), "buffer");
    high[value] = digest.readInt32BE(0);
    low[value] = digest.readInt32BE(4) ^ seed;
  }
  return { high, low };
}

/** Every entry shifted left by one. */
export function doubled({ high, low }: GearTable): GearTable {
  return {
    high: high.map((word, value) => (word << 1) | ((low[value] ?? 0) >>> 31)),
    low: low.map((word) => word << 1),
  };
}
