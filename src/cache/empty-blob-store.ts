import type { BlobContent, BlobPut, BlobStore, DetachedBlob, StagedBlob } from "./blob-store.ts";
import { CacheError } from "./cache-error.ts";
import type { DigestList } from "./digest-list.ts";
import { type Digest, isEmptyDigest } from "./digest.ts";
import { encodedBytesMax, type Encoding } from "./encoding.ts";
import { casKey } from "./entry-key.ts";
import type { ByteRange } from "./entry-store.ts";
import { decodeZstd } from "./zstd/zstd-decoder.ts";

/**
 * The empty blob is always present, for every digest function, and is never read nor stored: clients read it
 * without ever having uploaded it (BEHAVIOUR 1).
 */
export class EmptyBlobStore implements BlobStore {
  readonly #inner: BlobStore;

  constructor(inner: BlobStore) {
    this.#inner = inner;
  }

  peek(digest: Digest): boolean {
    return isEmptyDigest(digest) || this.#inner.peek(digest);
  }

  renewAll(digests: readonly Digest[]): Promise<boolean> | boolean {
    return this.#inner.renewAll(digests.some(isEmptyDigest) ? digests.filter((d) => !isEmptyDigest(d)) : digests);
  }

  async findMissing(digests: DigestList): Promise<number[]> {
    const missing = await this.#inner.findMissing(digests);
    return missing.filter((position) => digests.sizes[position] !== 0);
  }

  get(
    digest: Digest,
    range?: ByteRange,
    accept?: Encoding,
  ): Promise<BlobContent | undefined> | BlobContent | undefined {
    if (!isEmptyDigest(digest)) return this.#inner.get(digest, range, accept);
    if (range !== undefined && range.offset !== 0) {
      throw new CacheError("out_of_range", `offset: expected 0 for the empty blob, got ${range.offset}`);
    }
    return EMPTY_CONTENT;
  }

  prefetch(digests: readonly Digest[]): void {
    this.#inner.prefetch(digests);
  }

  stage(digest: Digest, signal?: AbortSignal, encoding?: Encoding): Promise<StagedBlob> | StagedBlob {
    return isEmptyDigest(digest) ? new EmptyStagedBlob(digest, encoding) : this.#inner.stage(digest, signal, encoding);
  }

  async attach(digest: Digest, detached: DetachedBlob): Promise<StagedBlob> {
    if (!isEmptyDigest(digest)) return this.#inner.attach(digest, detached);
    const encoded = detached.state as Uint8Array;
    const staged = new EmptyStagedBlob(digest, encoded.length > 0 ? "zstd" : "identity");
    staged.write(encoded);
    return staged;
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (!isEmptyDigest(digest)) return this.#inner.put(digest, bytes);
    refuseBytes(bytes);
  }

  async putAll(puts: readonly BlobPut[]): Promise<unknown[]> {
    if (!puts.some(({ digest }) => isEmptyDigest(digest))) return this.#inner.putAll(puts);
    const storing = await this.#inner.putAll(puts.filter(({ digest }) => !isEmptyDigest(digest)));
    const failures = storing.values();
    return puts.map(({ digest, bytes, encoding }) => {
      if (!isEmptyDigest(digest)) return failures.next().value;
      try {
        return checkNothing(bytes, encoding);
      } catch (error) {
        return error;
      }
    });
  }
}

const EMPTY_CONTENT: BlobContent = {
  sizeBytes: 0,
  encoding: "identity",
  bytes: () => new Uint8Array(0),
  close: () => undefined,
  async *[Symbol.asyncIterator]() {},
};

function refuseBytes(bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  throw new CacheError("invalid_argument", `data: expected 0 bytes for the empty blob, got ${bytes.length}`);
}

/** @throws {CacheError} invalid_argument where the bytes are more than nothing, encoded as they say. */
function checkNothing(bytes: Uint8Array, encoding: Encoding = "identity"): void {
  if (encoding === "zstd") decodeZstd([bytes], 0);
  else refuseBytes(bytes);
}

/** Holds nothing, so that `commit` and `discard` have nothing to do but to end the upload. */
class EmptyStagedBlob implements StagedBlob {
  readonly key: StagedBlob["key"];
  readonly #encoding: Encoding;
  /** What nothing is encoded as. */
  #encoded = Buffer.alloc(0);
  #isEnded = false;

  constructor(digest: Digest, encoding: Encoding = "identity") {
    this.key = casKey(digest);
    this.#encoding = encoding;
  }

  get bytesStaged(): number {
    return this.#encoded.length;
  }

  /** There is nothing to find again. */
  keepAs(): void {}

  write(chunk: Uint8Array): void {
    if (this.#encoding === "identity") return refuseBytes(chunk);
    if (this.bytesStaged + chunk.length > encodedBytesMax(0))
      throw new CacheError("invalid_argument", "data: too long");
    this.#encoded = Buffer.concat([this.#encoded, chunk]);
  }

  tryWrite(chunk: Uint8Array): boolean {
    return chunk.length === 0;
  }

  async commit(): Promise<void> {
    if (this.#isEnded) throw new CacheError("internal", "commit after the upload has ended");
    this.#isEnded = true;
    checkNothing(this.#encoded, this.#encoding);
  }

  /** Nothing is held. */
  async park(): Promise<void> {}

  async detach(): Promise<DetachedBlob> {
    this.#isEnded = true;
    return { bytesStaged: this.bytesStaged, state: this.#encoded };
  }

  async leave(): Promise<void> {
    this.#isEnded = true;
  }

  async discard(): Promise<void> {
    this.#isEnded = true;
  }
}
