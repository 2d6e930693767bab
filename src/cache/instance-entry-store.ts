import { hash } from "node:crypto";
import type { Encoding } from "./encoding.ts";
import { type EntryKey, instanceSpace, isContentAddressed, isScopable } from "./entry-key.ts";
import type {
  ByteRange,
  DetachedEntry,
  EntryContent,
  EntryPut,
  EntryStore,
  StagedEntry,
  StageOptions,
} from "./entry-store.ts";
import { KEY_BYTES, keyBytes, keyWords } from "./key-words.ts";

/**
 * The entries of one instance, where instances do not share blobs: what one has stored no other finds, reads, splices,
 * or hits an action result by. Blobs and their recipes are filed in key spaces of their own, under
 *
 *     SHA-256 of │ SHA-256 of the instance name │ the words of the content's hash │
 *
 * so that nobody who chooses digests, and the name of an instance, comes by the key of another one's blob. All else has
 * the instance in its name already.
 */
export class InstanceEntryStore implements EntryStore {
  readonly #entries: EntryStore;
  /** The instance, and room for the hash. */
  readonly #name = Buffer.alloc(2 * KEY_BYTES);

  constructor(entries: EntryStore, instanceName: string) {
    this.#entries = entries;
    this.#name.set(hash("sha256", instanceName, "buffer"));
  }

  peek(key: EntryKey): boolean {
    return this.#entries.peek(this.#scoped(key));
  }

  find(key: EntryKey, options?: { renew?: boolean }): number | undefined {
    return this.#entries.find(this.#scoped(key), options);
  }

  get(
    key: EntryKey,
    range?: ByteRange,
    accept?: Encoding,
  ): Promise<EntryContent | undefined> | EntryContent | undefined {
    return this.#entries.get(this.#scoped(key), range, accept);
  }

  prefetch(keys: readonly EntryKey[]): void {
    this.#entries.prefetch(keys.map((key) => this.#scoped(key)));
  }

  stage(key: EntryKey, options?: StageOptions): Promise<StagedEntry> | StagedEntry {
    return this.#entries.stage(this.#scoped(key), options);
  }

  attach(key: EntryKey, detached: DetachedEntry): Promise<StagedEntry> {
    return this.#entries.attach(this.#scoped(key), detached);
  }

  put(key: EntryKey, bytes: Uint8Array): Promise<void> {
    return this.#entries.put(this.#scoped(key), bytes);
  }

  putAll(puts: readonly EntryPut[]): Promise<unknown[]> {
    return this.#entries.putAll(puts.map((put) => ({ ...put, key: this.#scoped(put.key) })));
  }

  #scoped(key: EntryKey): EntryKey {
    const { space, words, sizeBytes } = key;
    if (!isScopable(space)) return key;
    this.#name.set(keyBytes(words), KEY_BYTES);
    const scopedWords = keyWords(hash("sha256", this.#name, "buffer"));
    const scoped = { space: instanceSpace(space), words: scopedWords, sizeBytes };
    return isContentAddressed(key) ? { ...scoped, contentWords: words } : scoped;
  }
}
