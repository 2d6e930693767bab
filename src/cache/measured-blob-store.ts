import type { BlobContent, BlobPut, BlobStore, DetachedBlob, StagedBlob } from "./blob-store.ts";
import type { CacheMeter } from "./cache-meter.ts";
import type { DigestList } from "./digest-list.ts";
import type { Digest } from "./digest.ts";
import type { Encoding } from "./encoding.ts";
import type { ByteRange } from "./entry-store.ts";
import { MeasuredStagedEntry } from "./measured-staged-entry.ts";

/** Counts hits, misses and bytes. The outermost decorator, so that it counts what clients are told. */
export class MeasuredBlobStore implements BlobStore {
  readonly #inner: BlobStore;
  readonly #meter: CacheMeter;

  constructor(inner: BlobStore, meter: CacheMeter) {
    this.#inner = inner;
    this.#meter = meter;
  }

  peek(digest: Digest): boolean {
    return this.#inner.peek(digest);
  }

  /** No client has asked for these one by one. */
  renewAll(digests: readonly Digest[]): Promise<boolean> | boolean {
    return this.#inner.renewAll(digests);
  }

  async findMissing(digests: DigestList): Promise<number[]> {
    const missing = await this.#inner.findMissing(digests);
    this.#meter.countLookups("find_missing", "miss", missing.length);
    this.#meter.countLookups("find_missing", "hit", digests.count - missing.length);
    return missing;
  }

  get(
    digest: Digest,
    range?: ByteRange,
    accept?: Encoding,
  ): Promise<BlobContent | undefined> | BlobContent | undefined {
    const getting = this.#inner.get(digest, range, accept);
    return getting instanceof Promise
      ? getting.then((content) => this.#counted(content, range))
      : this.#counted(getting, range);
  }

  prefetch(digests: readonly Digest[]): void {
    this.#inner.prefetch(digests);
  }

  stage(digest: Digest, signal?: AbortSignal, encoding?: Encoding): Promise<StagedBlob> | StagedBlob {
    const staging = this.#inner.stage(digest, signal, encoding);
    return staging instanceof Promise ? staging.then((staged) => this.#measured(staged)) : this.#measured(staging);
  }

  async attach(digest: Digest, detached: DetachedBlob): Promise<StagedBlob> {
    return this.#measured(await this.#inner.attach(digest, detached));
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    await this.#inner.put(digest, bytes);
    this.#meter.countBytes("cas", "written", bytes.length);
  }

  async putAll(puts: readonly BlobPut[]): Promise<unknown[]> {
    const failures = await this.#inner.putAll(puts);
    let writtenBytes = 0;
    for (const [i, { bytes }] of puts.entries()) if (failures[i] === undefined) writtenBytes += bytes.length;
    this.#meter.countBytes("cas", "written", writtenBytes);
    return failures;
  }

  #measured(staged: StagedBlob): StagedBlob {
    return new MeasuredStagedEntry(staged, (bytes) =>
      this.#meter.countBytes("cas", "written", staged.key.sizeBytes ?? bytes),
    );
  }

  #counted(content: BlobContent | undefined, range: ByteRange | undefined): BlobContent | undefined {
    this.#meter.countLookups("cas", content === undefined ? "miss" : "hit", 1);
    if (content !== undefined) this.#meter.countBytes("cas", "read", bytesInRange(content.sizeBytes, range));
    return content;
  }
}

/** Bytes that a range gives of a value. */
export function bytesInRange(sizeBytes: number, range: ByteRange = { offset: 0 }): number {
  return Math.min(range.limit ?? sizeBytes, sizeBytes - range.offset);
}
