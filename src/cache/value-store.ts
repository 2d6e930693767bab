import type { ByteRange, EntryContent, StagedEntry, StageOptions } from "./entry-store.ts";

/** Which part of a value is wanted, once its size is known; undefined: all of it. */
export type RangeOf = (sizeBytes: number) => ByteRange | undefined;

/**
 * Values by names that a build tool has made up, as one protocol sees them: what it stores no other one finds. A value
 * is whole or absent (I1) and is kept as given; storing it again replaces it.
 */
export interface ValueStore {
  /** Size of the value, or undefined for a miss. It is used now: its lease is renewed. */
  find(name: string): number | undefined;
  /**
   * @returns undefined for a miss. The value is used now. No promise where nothing has to be waited for.
   * @throws {CacheError} what `rangeOf` throws; unavailable where the value is replaced by one of another size while a
   * part of it is opened.
   */
  get(name: string, rangeOf?: RangeOf): Promise<EntryContent | undefined> | EntryContent | undefined;
  /** Starts an upload, whose size need not be known. */
  stage(name: string, options?: StageOptions): Promise<StagedEntry> | StagedEntry;
}
