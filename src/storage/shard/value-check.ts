import { CacheError } from "../../cache/cache-error.ts";
import { type ContentHash, createContentHash, hashMismatch } from "../../cache/content-hash.ts";
import { ENCODINGS } from "../../cache/encoding.ts";
import { digestFunctionOfSpace } from "../../cache/entry-key.ts";
import { ZstdDecoder } from "../../cache/zstd/zstd-decoder.ts";
import { ChunkChecksums } from "../segment/segment-format.ts";
import type { PutRequest } from "./shard-protocol.ts";

/** Read, hashed and synced in one go: the other uploads of the shard wait for no more than this. */
export const CHECK_SLICE_BYTES = 8 * 1024 * 1024;

/** What came of checking uploads before their group: the checksums of what is stored, or what is wrong. */
export type CheckedPuts = Pick<WeakMap<PutRequest, ChunkChecksums | string>, "get">;

/**
 * Holds staged bytes that come in pieces against the key that they were filed under, and sums them up: the hash is that of
 * the value, the checksums are those of the bytes as they are stored.
 */
export class ValueCheck implements Disposable {
  readonly checksums = new ChunkChecksums();
  readonly #request: PutRequest;
  readonly #hash: ContentHash | undefined;
  readonly #decoder: ZstdDecoder | undefined;

  constructor(request: PutRequest) {
    const { contentAddressed, encoding, space, sizeBytes } = request;
    this.#request = request;
    this.#hash = contentAddressed ? createContentHash(digestFunctionOfSpace(space), sizeBytes) : undefined;
    this.#decoder = encoding === ENCODINGS.identity ? undefined : new ZstdDecoder(sizeBytes);
  }

  /** What a piece expands to may be gigabytes: it pauses after each slice of that. @returns what is wrong, or undefined. */
  *takeInSlices(piece: Uint8Array): Generator<undefined, string | undefined> {
    this.checksums.update(piece);
    if (this.#decoder === undefined) {
      this.#hash?.update(piece);
      return undefined;
    }
    try {
      let sliceBytes = 0;
      for (const part of this.#decoder.decode(piece)) {
        this.#hash?.update(part);
        sliceBytes += part.byteLength;
        if (sliceBytes < CHECK_SLICE_BYTES) continue;
        sliceBytes = 0;
        yield;
      }
      return undefined;
    } catch (error) {
      return reasonOf(error);
    }
  }

  /** Ends it. @returns what is wrong, or undefined. */
  mismatch(): string | undefined {
    const { key, contentKey = key, sizeBytes } = this.#request;
    try {
      this.#decoder?.end();
    } catch (error) {
      return reasonOf(error);
    }
    return this.#hash && hashMismatch(contentKey, this.#hash.digest(), sizeBytes);
  }

  [Symbol.dispose](): void {
    this.#decoder?.[Symbol.dispose]();
  }
}

/** @returns the checksums of the pieces, or what is wrong with them. */
export function* checkPieces(
  request: PutRequest,
  pieces: readonly Uint8Array[],
): Generator<undefined, ChunkChecksums | string> {
  using check = new ValueCheck(request);
  for (const piece of pieces) {
    const wrong = yield* check.takeInSlices(piece);
    if (wrong !== undefined) return wrong;
  }
  return check.mismatch() ?? check.checksums;
}

/** Errors that are not about the bytes go on. */
function reasonOf(error: unknown): string {
  if (error instanceof CacheError && error.code === "invalid_argument") return error.message;
  throw error;
}
