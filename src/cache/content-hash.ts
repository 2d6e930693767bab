import { createHash, hash } from "node:crypto";
import { Blake3 } from "./blake3.ts";
import type { DigestFunctionName } from "./digest.ts";
import { hashKeyBytes } from "./entry-key.ts";
import { KEY_BYTES } from "./key-words.ts";
import { Sha256Tree } from "./sha256-tree.ts";

/** Hashes pieces that come one after the other. */
export interface ContentHash {
  update(piece: Uint8Array): void;
  /** Ends it: no call follows. */
  digest(): Uint8Array;
}

/** Whether the size has to be known before the first piece. */
export function beginsWithSize(fn: DigestFunctionName): boolean {
  return fn === "gitsha1";
}

/** @param sizeBytes of all pieces together; looked at only by what {@link beginsWithSize}. */
export function createContentHash(fn: DigestFunctionName, sizeBytes: number): ContentHash {
  switch (fn) {
    case "sha256":
    case "sha1":
    case "md5":
    case "sha384":
    case "sha512":
      return createHash(fn);
    case "gitsha1":
      return createHash("sha1").update(`blob ${sizeBytes}\0`);
    case "sha256tree":
      return new Sha256Tree();
    case "blake3":
      return new Blake3();
  }
}

/**
 * The hash of a value that lies in `pieces`.
 * @param onHashed gets each piece while it is in the processor's cache.
 */
export function contentHashOf(
  fn: DigestFunctionName,
  pieces: readonly Uint8Array[],
  onHashed: (piece: Uint8Array) => void = () => {},
): Uint8Array {
  const [first, ...others] = pieces;
  if (first !== undefined && others.length === 0 && fn === "sha256") {
    const digest = hash(fn, first, "buffer");
    onHashed(first);
    return digest;
  }
  const sizeBytes = pieces.reduce((sum, { length }) => sum + length, 0);
  const running = createContentHash(fn, sizeBytes);
  for (const piece of pieces) {
    running.update(piece);
    onHashed(piece);
  }
  return running.digest();
}

/**
 * Holds a hash against the key that the contents were filed under.
 * @returns what is wrong, or undefined.
 */
export function hashMismatch(key: Uint8Array, got: Uint8Array, sizeBytes: number): string | undefined {
  if (Buffer.compare(hashKeyBytes(got), key) === 0) return undefined;
  // Of a hash that is longer than a key the key does not tell what was expected.
  const expected = got.length > KEY_BYTES ? "another" : hex(key.subarray(0, got.length));
  return `hash: expected ${expected}, got ${hex(got)} of ${sizeBytes} bytes`;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
