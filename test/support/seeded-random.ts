import { type Cipheriv, createCipheriv, createHash } from "node:crypto";

const POOL_BYTES = 4096;

/** Reproducible randomness: the same seed gives the same sequence of values. */
export interface SeededRandom {
  /** Incompressible and without a period. */
  bytes(sizeBytes: number): Buffer;
  /** Both bounds may be drawn. */
  int(min: number, max: number): number;
  /** From 0 up to, but never, 1. */
  fraction(): number;
  pick<T>(choices: readonly T[]): T;
}

/** The key stream of AES-128-CTR under a key made from the seed: more than 1 GB/s. */
export function seededRandom(seed: number | string): SeededRandom {
  const key = createHash("sha256").update(`${seed}`).digest();
  const stream: Cipheriv = createCipheriv("aes-128-ctr", key.subarray(0, 16), key.subarray(16, 32));
  let pool = Buffer.alloc(0);
  const uint32 = (): number => {
    if (pool.length === 0) pool = stream.update(Buffer.alloc(POOL_BYTES));
    const value = pool.readUInt32LE(0);
    pool = pool.subarray(4);
    return value;
  };
  const fraction = (): number => uint32() / 2 ** 32;
  const int = (min: number, max: number): number => min + Math.floor(fraction() * (max - min + 1));
  return {
    bytes: (sizeBytes) => stream.update(Buffer.alloc(sizeBytes)),
    int,
    fraction,
    pick: (choices) => {
      const choice = choices[int(0, choices.length - 1)];
      if (choice === undefined) throw new RangeError("pick: no choices were given");
      return choice;
    },
  };
}
