import { DIGEST_FUNCTIONS, type Digest, type DigestFunctionName } from "../digest.ts";
import type { ChunkingFunctionNumber } from "./chunking.ts";

/** Of which chunks a blob consists, in order. */
export interface Recipe {
  /** What has made the chunks. */
  readonly function: ChunkingFunctionNumber;
  /** None is empty. */
  readonly chunks: readonly Digest[];
}

/**
 * A recipe as it is stored, integers little-endian. Hashes are those of the blob's digest function, which is in the key.
 *
 *   ┌─────────┬──────────┬─────────┬─ for each chunk: ──────┐
 *   │ version │ function │ size 6  │ size 6 · hash 16 to 64 │
 *   └─────────┴──────────┴─────────┴────────────────────────┘
 *     1 byte    1 byte     of the blob
 */
const VERSION = 1;
const HEADER_BYTES = 8;
const SIZE_BYTES = 6;

/** @param sizeBytes of the blob. */
export function encodeRecipe(fn: DigestFunctionName, sizeBytes: number, recipe: Recipe): Uint8Array {
  const rowBytes = SIZE_BYTES + DIGEST_FUNCTIONS[fn].hashBytes;
  const bytes = Buffer.alloc(HEADER_BYTES + recipe.chunks.length * rowBytes);
  bytes[0] = VERSION;
  bytes[1] = recipe.function;
  bytes.writeUIntLE(sizeBytes, 2, SIZE_BYTES);
  for (const [index, chunk] of recipe.chunks.entries()) {
    const at = HEADER_BYTES + index * rowBytes;
    bytes.writeUIntLE(chunk.sizeBytes, at, SIZE_BYTES);
    bytes.write(chunk.hash, at + SIZE_BYTES, "hex");
  }
  return bytes;
}

/** Size of the blob that the recipe is of. @returns undefined where it is no recipe of this version. */
export function recipeBlobBytes(stored: Uint8Array): number | undefined {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  return bytes.length >= HEADER_BYTES && bytes[0] === VERSION ? bytes.readUIntLE(2, SIZE_BYTES) : undefined;
}

/** @returns undefined where the bytes are no recipe of a blob of this size. */
export function decodeRecipe(fn: DigestFunctionName, sizeBytes: number, stored: Uint8Array): Recipe | undefined {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  const rowBytes = SIZE_BYTES + DIGEST_FUNCTIONS[fn].hashBytes;
  const chunkCount = (bytes.length - HEADER_BYTES) / rowBytes;
  if (chunkCount < 0 || !Number.isInteger(chunkCount) || bytes[0] !== VERSION) return undefined;
  const made = bytes[1];
  if (made !== 0 && made !== 1 && made !== 2) return undefined;
  const chunks = Array.from({ length: chunkCount }, (_, index): Digest => {
    const at = HEADER_BYTES + index * rowBytes;
    const hash = bytes.toString("hex", at + SIZE_BYTES, at + rowBytes);
    return { fn, hash, sizeBytes: bytes.readUIntLE(at, SIZE_BYTES) };
  });
  const chunkBytes = chunks.reduce((sum, chunk) => sum + chunk.sizeBytes, 0);
  if (bytes.readUIntLE(2, SIZE_BYTES) !== sizeBytes || chunkBytes !== sizeBytes) return undefined;
  return { function: made, chunks };
}
