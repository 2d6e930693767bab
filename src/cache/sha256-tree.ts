import { hash } from "node:crypto";

/**
 * SHA256TREE (`DigestFunction.Value` 8): the plain SHA-256 of up to 1 KiB; of more, one block function over the two
 * hashes of
 *
 *     left: a power of two long, and at least as long as the right    right: the rest
 *
 * So the tree over 1 KiB leaves is known without knowing the size: as with a binary counter, two trees of one height
 * become one as soon as it is clear that more follows, and at the end what is left is joined from the right. The
 * stack is as high as the number of leaves has bits.
 */
export class Sha256Tree {
  /** Roots of full trees, the highest first; eight words each. */
  readonly #stack = new Int32Array(STACK_TREES_MAX * HASH_WORDS);
  #stackTrees = 0;
  /** Leaves under the stack. */
  #leafCount = 0;
  /** The last leaf as far as it is known: whether it is the last of all shows only when more comes. */
  readonly #tail = Buffer.alloc(LEAF_BYTES);
  #tailBytes = 0;

  update(piece: Uint8Array): void {
    let at = 0;
    if (this.#tailBytes > 0) at = this.#fillTail(piece, 0);
    while (piece.length - at > LEAF_BYTES) {
      if (this.#tailBytes > 0) this.#pushLeaf(this.#tail);
      this.#tailBytes = 0;
      this.#pushLeaf(piece.subarray(at, at + LEAF_BYTES));
      at += LEAF_BYTES;
    }
    if (at === piece.length) return;
    if (this.#tailBytes > 0) this.#pushLeaf(this.#tail);
    this.#tailBytes = 0;
    this.#fillTail(piece, at);
  }

  digest(): Uint8Array {
    putLeafHash(this.#stack, this.#stackTrees * HASH_WORDS, this.#tail.subarray(0, this.#tailBytes));
    for (let tree = this.#stackTrees; tree > 0; tree -= 1) joinTop(this.#stack, tree + 1);
    this.#stackTrees = 0;
    const bytes = Buffer.alloc(HASH_WORDS * 4);
    for (let i = 0; i < HASH_WORDS; i += 1) bytes.writeInt32BE(this.#stack[i] ?? 0, i * 4);
    return bytes;
  }

  /** @returns how far `piece` is taken. */
  #fillTail(piece: Uint8Array, start: number): number {
    const end = Math.min(piece.length, start + LEAF_BYTES - this.#tailBytes);
    this.#tail.set(piece.subarray(start, end), this.#tailBytes);
    this.#tailBytes += end - start;
    return end;
  }

  #pushLeaf(leaf: Uint8Array): void {
    putLeafHash(this.#stack, this.#stackTrees * HASH_WORDS, leaf);
    this.#stackTrees += 1;
    this.#leafCount += 1;
    // A number of leaves that can be halved so often completes as many trees.
    for (let count = this.#leafCount; count % 2 === 0; count /= 2) {
      joinTop(this.#stack, this.#stackTrees);
      this.#stackTrees -= 1;
    }
  }
}

const LEAF_BYTES = 1024;
const HASH_WORDS = 8;
const BLOCK_WORDS = 16;
const ROUNDS = 64;
/** Leaves are counted in a double, exactly up to 2^53. */
const STACK_TREES_MAX = 54;

const ROUND_CONSTANTS = roundConstants();
const schedule = new Int32Array(ROUNDS);

/** The first 32 bits behind the point of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
function roundConstants(): Int32Array {
  const primes: number[] = [];
  for (let n = 2; primes.length < ROUNDS; n += 1) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return Int32Array.from(primes, (prime) => (Math.cbrt(prime) % 1) * 2 ** 32);
}

function putLeafHash(stack: Int32Array, at: number, leaf: Uint8Array): void {
  // A string of 32 characters costs half of what a Buffer does.
  const digest = hash("sha256", leaf, "binary");
  for (let i = 0; i < HASH_WORDS; i += 1) {
    const from = i * 4;
    stack[at + i] =
      (digest.charCodeAt(from) << 24) |
      (digest.charCodeAt(from + 1) << 16) |
      (digest.charCodeAt(from + 2) << 8) |
      digest.charCodeAt(from + 3);
  }
}

/**
 * Replaces the upper two of `trees` hashes by that of both: one SHA-256 compression (FIPS 180-4, 6.2.2), whose state
 * is taken as it comes out of the rounds.
 */
function joinTop(stack: Int32Array, trees: number): void {
  const at = (trees - 2) * HASH_WORDS;
  for (let i = 0; i < BLOCK_WORDS; i += 1) schedule[i] = stack[at + i] ?? 0;
  for (let i = BLOCK_WORDS; i < ROUNDS; i += 1) {
    const a = schedule[i - 15] ?? 0;
    const b = schedule[i - 2] ?? 0;
    const sigma0 = ((a >>> 7) | (a << 25)) ^ ((a >>> 18) | (a << 14)) ^ (a >>> 3);
    const sigma1 = ((b >>> 17) | (b << 15)) ^ ((b >>> 19) | (b << 13)) ^ (b >>> 10);
    schedule[i] = (schedule[i - 16] ?? 0) + sigma0 + (schedule[i - 7] ?? 0) + sigma1;
  }
  // The initial state that tells this from a plain SHA-256.
  let a = 0xcbbb9d5d | 0;
  let b = 0x629a292a;
  let c = 0x9159015a | 0;
  let d = 0x152fecd8;
  let e = 0x67332667;
  let f = 0x8eb44a87 | 0;
  let g = 0xdb0c2e0d | 0;
  let h = 0x47b5481d;
  for (let i = 0; i < ROUNDS; i += 1) {
    const sum1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const sum0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const mixed1 = (h + sum1 + ((e & f) ^ (~e & g)) + (ROUND_CONSTANTS[i] ?? 0) + (schedule[i] ?? 0)) | 0;
    const mixed0 = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + mixed1) | 0;
    d = c;
    c = b;
    b = a;
    a = (mixed0 + mixed1) | 0;
  }
  stack[at] = a;
  stack[at + 1] = b;
  stack[at + 2] = c;
  stack[at + 3] = d;
  stack[at + 4] = e;
  stack[at + 5] = f;
  stack[at + 6] = g;
  stack[at + 7] = h;
}
