import type { BlobContent, BlobPut, BlobStore, DetachedBlob, StagedBlob } from "./blob-store.ts";
import { CacheError } from "./cache-error.ts";
import type { DigestList } from "./digest-list.ts";
import { type Digest, isEmptyDigest } from "./digest.ts";
import { casKey } from "./entry-key.ts";
import type { ByteRange } from "./entry-store.ts";

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

  get(digest: Digest, range?: ByteRange): Promise<BlobContent | undefined> | BlobContent | undefined {
    if (!isEmptyDigest(digest)) return this.#inner.get(digest, range);
    if (range !== undefined && range.offset !== 0) {
      throw new CacheError("out_of_range", `offset: expected 0 for the empty blob, got ${range.offset}`);
    }
    return EMPTY_CONTENT;
  }

  stage(digest: Digest, signal?: AbortSignal): Promise<StagedBlob> | StagedBlob {
    return isEmptyDigest(digest) ? new EmptyStagedBlob(digest) : this.#inner.stage(digest, signal);
  }

  async attach(digest: Digest, detached: DetachedBlob): Promise<StagedBlob> {
    return isEmptyDigest(digest) ? new EmptyStagedBlob(digest) : this.#inner.attach(digest, detached);
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (!isEmptyDigest(digest)) return this.#inner.put(digest, bytes);
    refuseBytes(bytes);
  }

  async putAll(puts: readonly BlobPut[]): Promise<unknown[]> {
    if (!puts.some(({ digest }) => isEmptyDigest(digest))) return this.#inner.putAll(puts);
    const settled = await Promise.allSettled(puts.map(({ digest, bytes }) => this.put(digest, bytes)));
    return settled.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
  }
}

const EMPTY_CONTENT: BlobContent = {
  sizeBytes: 0,
  bytes: () => new Uint8Array(0),
  close: () => undefined,
  async *[Symbol.asyncIterator]() {},
};

function refuseBytes(bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  throw new CacheError("invalid_argument", `data: expected 0 bytes for the empty blob, got ${bytes.length}`);
}

/** Holds nothing, so that `commit` and `discard` have nothing to do but to end the upload. */
class EmptyStagedBlob implements StagedBlob {
  readonly key: StagedBlob["key"];
  readonly bytesStaged = 0;
  #isEnded = false;

  constructor(digest: Digest) {
    this.key = casKey(digest);
  }

  write(chunk: Uint8Array): void {
    refuseBytes(chunk);
  }

  tryWrite(chunk: Uint8Array): boolean {
    return chunk.length === 0;
  }

  async commit(): Promise<void> {
    if (this.#isEnded) throw new CacheError("internal", "commit after the upload has ended");
    this.#isEnded = true;
  }

  /** Nothing is held. */
  async park(): Promise<void> {}

  async detach(): Promise<DetachedBlob> {
    this.#isEnded = true;
    return { bytesStaged: 0, state: undefined };
  }

  async discard(): Promise<void> {
    this.#isEnded = true;
  }
}
