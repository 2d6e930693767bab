import type { DigestList } from "./digest-list.ts";
import type { Digest } from "./digest.ts";
import type { Encoding } from "./encoding.ts";
import type { ByteRange, DetachedEntry, EntryContent, StagedEntry } from "./entry-store.ts";

/** Content of a blob being read; see {@link EntryContent} for who closes it. */
export type BlobContent = EntryContent;
/** A blob being uploaded; see {@link StagedEntry}. */
export type StagedBlob = StagedEntry;
/** A blob being uploaded, between two threads; see {@link DetachedEntry}. */
export type DetachedBlob = DetachedEntry;

/** A small blob to be stored. */
export interface BlobPut {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  /** Of the bytes, default identity. */
  readonly encoding?: Encoding;
}

/**
 * The content-addressable store as the edges see it. A blob is whole or absent (I1). Behaviours are added by
 * decorators, each in a file of its own, stacked in `server.ts`.
 */
export interface BlobStore {
  /** Whether the blob is visible now; a cheap look-up that renews nothing. */
  peek(digest: Digest): boolean;
  /**
   * Whether all of them are present now. Each is used now: the leases of those that are present are renewed. No promise
   * where nothing has to be waited for.
   */
  renewAll(digests: readonly Digest[]): Promise<boolean> | boolean;
  /** Where in the list the absent ones are, in order. Present blobs are used now: their lease is renewed. */
  findMissing(digests: DigestList): Promise<number[]>;
  /**
   * @returns undefined for a miss. No promise where nothing has to be waited for.
   * @param accept What the reader can decode besides identity: a whole blob that is stored so is given so.
   * @throws {CacheError} out_of_range where the offset lies outside of 0 to size.
   */
  get(digest: Digest, range?: ByteRange, accept?: Encoding): Promise<BlobContent | undefined> | BlobContent | undefined;
  /** Of these many will be read next: what of them is small and lies side by side is read together. Renews nothing. */
  prefetch(digests: readonly Digest[]): void;
  /**
   * Starts an upload of `digest.sizeBytes` bytes; hash and size are verified by `commit`.
   * @param encoding Of the bytes that will be written, default identity.
   */
  stage(digest: Digest, signal?: AbortSignal, encoding?: Encoding): Promise<StagedBlob> | StagedBlob;
  /** Goes on with an upload of this blob that was detached, here or in another thread. */
  attach(digest: Digest, detached: DetachedBlob): Promise<StagedBlob>;
  /** Stores a small blob in one step. @throws {CacheError} invalid_argument where hash or size differ. */
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  /** Stores many. @returns for each of them what `put` would throw, or undefined. Never rejects. */
  putAll(puts: readonly BlobPut[]): Promise<unknown[]>;
}
