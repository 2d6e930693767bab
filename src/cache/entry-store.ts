import type { Encoding } from "./encoding.ts";
import type { EntryKey } from "./entry-key.ts";

/** Which part of an entry to read, in bytes of the value. */
export interface ByteRange {
  /** 0 to the entry's size. */
  readonly offset: number;
  /** Bytes at the most; undefined: to the end. */
  readonly limit?: number;
}

/** A part of a value in memory that will be used again. */
export interface LentPiece {
  readonly bytes: Uint8Array;
  /** To be called when nobody looks at the bytes any more. Whoever does not call it costs others new memory. */
  readonly giveBack: () => void;
}

/** The pieces of a value, one after the other. Those that are here cost no promise. */
export interface LentPieces {
  /**
   * The next piece where it is here; undefined where it has to be waited for, and where that was all.
   * @param bytesMax of a piece, where less memory is held then.
   * @throws what reading reports; then there is nothing more to be had.
   */
  take(bytesMax: number): LentPiece | undefined;
  /** Waits until {@link take} has a piece (true) or there will be none (false). */
  more(): Promise<boolean> | false;
}

/**
 * An open entry. It stays readable until it is closed, also when it is retired meanwhile. Iterating to the end,
 * `return()` of the iterator, taking the last piece, and `bytes()` close it; whoever does neither must call `close()`.
 */
export interface EntryContent extends AsyncIterable<Uint8Array> {
  /** Size of the whole value, whatever range was asked for. */
  readonly sizeBytes: number;
  /** How what it gives is encoded: as it is, unless the reader has said that it accepts more and the range is the whole. */
  readonly encoding: Encoding;
  /** The whole range at once; for small values. Without a promise where it is in memory. It must not be changed. */
  bytes(): Promise<Uint8Array> | Uint8Array;
  /** Instead of iterating, for those who know when they are done with each piece. Not every content offers it. */
  lend?(): LentPieces;
  close(): void;
}

/** An upload between two threads, as a message carries it. It takes its room until a store attaches it. */
export interface DetachedEntry {
  readonly bytesStaged: number;
  /** The engine's own. */
  readonly state: unknown;
}

/** An upload in progress. It has one owner at a time (I5) and ends in exactly one of `commit` and `discard`. */
export interface StagedEntry {
  readonly key: EntryKey;
  /** Bytes taken so far, as they came: of an encoded upload, encoded ones. */
  readonly bytesStaged: number;
  /**
   * From now on the upload outlives its process: whoever is given `name` finds it again after the next start, as far as
   * it had come. Only before the first byte; without effect where the size is not known.
   */
  keepAs(name: string): void;
  /**
   * Takes a copy of `chunk`, which the caller may reuse once this has returned or its promise is settled.
   * @throws {CacheError} invalid_argument at the first byte past the key's size, or past what an encoding of so many
   * bytes can take; resource_exhausted or storage_full where staging is full.
   */
  write(chunk: Uint8Array): Promise<void> | void;
  /**
   * Copies the chunk to memory where that can be done at once. @returns false where nothing was taken: it is `write`
   * then that takes it, or says why not.
   */
  tryWrite(chunk: Uint8Array): boolean;
  /**
   * Hands the bytes over to the engine and resolves once the entry is visible and, at durability `commit`, on disk.
   * Whether it resolves or throws, nothing stays staged.
   * @throws {CacheError} invalid_argument where size or hash, of what the bytes decode to, differ from the key.
   */
  commit(): Promise<void>;
  /**
   * Gives back the memory that the staged bytes take, because nobody will write to the upload for a while, and has them
   * outlive the process where they have a name. It can be written to and committed as before. Where there is no room to put the bytes elsewhere they stay in memory.
   */
  park(): Promise<void>;
  /**
   * Ends the upload here, so that another thread can go on with it. Its bytes leave memory first.
   * @throws {CacheError} where there is no room to put them elsewhere: then the upload is as it was.
   */
  detach(): Promise<DetachedEntry>;
  /**
   * Ends the upload here for a later process to go on with; one that has no name is discarded. The bytes are on disk
   * when it resolves, or not yet where `signal` is aborted before.
   */
  leave(signal: AbortSignal): Promise<void>;
  /** Frees everything that is staged. Calling it after `commit` or twice does nothing. */
  discard(): Promise<void>;
}

export interface StageOptions {
  /** Size of the value where it is known in advance and the key does not fix it. */
  readonly sizeBytes?: number;
  /** Of the bytes that will be written, default identity. Others are for content-addressed keys. */
  readonly encoding?: Encoding;
  readonly signal?: AbortSignal;
}

/** A small value to be stored. */
export interface EntryPut {
  readonly key: EntryKey;
  readonly bytes: Uint8Array;
  /** Of the bytes, default identity. Others are for content-addressed keys. */
  readonly encoding?: Encoding;
}

/** The interface of an engine: entries under keys, whole or absent. */
export interface EntryStore {
  /** Whether the entry is visible now. Renews nothing. */
  peek(key: EntryKey): boolean;
  /** Size of the visible entry, or undefined. With `renew` the entry counts as used now and its lease is renewed. */
  find(key: EntryKey, options?: { renew?: boolean }): number | undefined;
  /**
   * @returns undefined for a miss, which includes an entry whose bytes fail their checksum (I6). No promise where
   * nothing has to be waited for.
   * @param accept What the reader can decode besides identity: where the whole value is stored so, it is given so.
   * @throws {CacheError} out_of_range where the offset lies outside of 0 to size.
   */
  get(
    key: EntryKey,
    range?: ByteRange,
    accept?: Encoding,
  ): Promise<EntryContent | undefined> | EntryContent | undefined;
  /** Of these many will be read next: what of them is small and lies side by side is read together. Renews nothing. */
  prefetch(keys: readonly EntryKey[]): void;
  /**
   * Starts an upload. Waits a bounded time for staging room.
   * @throws {CacheError} resource_exhausted when there was none.
   */
  stage(key: EntryKey, options?: StageOptions): Promise<StagedEntry> | StagedEntry;
  /** Goes on with an upload that was detached, here or in another thread. */
  attach(key: EntryKey, detached: DetachedEntry): Promise<StagedEntry>;
  /** Stores a small value in one step; replaces the one before where the space is not content-addressed. */
  put(key: EntryKey, bytes: Uint8Array): Promise<void>;
  /** Stores many, in any order. @returns for each of them why it is not stored, or undefined. Never rejects. */
  putAll(puts: readonly EntryPut[]): Promise<unknown[]>;
}
