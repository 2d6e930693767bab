import type { BlobContent, BlobPut, BlobStore, DetachedBlob, StagedBlob } from "./blob-store.ts";
import type { DigestList } from "./digest-list.ts";
import type { Digest } from "./digest.ts";
import type { Encoding } from "./encoding.ts";
import { casKey, casSpace } from "./entry-key.ts";
import type { ByteRange, EntryStore, StageOptions } from "./entry-store.ts";
import { KEY_WORDS } from "./key-words.ts";
import { nextTurn } from "./turns.ts";

const RENEW = { renew: true };
/** Look-ups made before the event loop gets a turn: about half a millisecond of work. */
const LOOKUPS_PER_TURN = 1024;

/** The content-addressable store over the CAS key spaces of an engine. */
export class EntryBlobStore implements BlobStore {
  readonly #entries: EntryStore;

  constructor(entries: EntryStore) {
    this.#entries = entries;
  }

  peek(digest: Digest): boolean {
    return this.#entries.peek(casKey(digest));
  }

  renewAll(digests: readonly Digest[]): boolean {
    let arePresent = true;
    for (const digest of digests) {
      if (this.#entries.find(casKey(digest), { renew: true }) === undefined) arePresent = false;
    }
    return arePresent;
  }

  async findMissing({ fn, count, words, sizes }: DigestList): Promise<number[]> {
    const missing: number[] = [];
    // One key for all of them: the store does not keep it.
    const key = { space: casSpace(fn), words: new Int32Array(KEY_WORDS), sizeBytes: 0 };
    for (let position = 0; position < count; position += 1) {
      if (position > 0 && position % LOOKUPS_PER_TURN === 0) await nextTurn();
      for (let i = 0; i < KEY_WORDS; i += 1) key.words[i] = words[position * KEY_WORDS + i]!;
      key.sizeBytes = sizes[position]!;
      if (this.#entries.find(key, RENEW) === undefined) missing.push(position);
    }
    return missing;
  }

  get(
    digest: Digest,
    range?: ByteRange,
    accept?: Encoding,
  ): Promise<BlobContent | undefined> | BlobContent | undefined {
    return this.#entries.get(casKey(digest), range, accept);
  }

  prefetch(digests: readonly Digest[]): void {
    this.#entries.prefetch(digests.map(casKey));
  }

  stage(digest: Digest, signal?: AbortSignal, encoding: Encoding = "identity"): Promise<StagedBlob> | StagedBlob {
    const options: StageOptions = signal === undefined ? { encoding } : { encoding, signal };
    return this.#entries.stage(casKey(digest), options);
  }

  attach(digest: Digest, detached: DetachedBlob): Promise<StagedBlob> {
    return this.#entries.attach(casKey(digest), detached);
  }

  put(digest: Digest, bytes: Uint8Array): Promise<void> {
    return this.#entries.put(casKey(digest), bytes);
  }

  putAll(puts: readonly BlobPut[]): Promise<unknown[]> {
    return this.#entries.putAll(puts.map(({ digest, ...put }) => ({ key: casKey(digest), ...put })));
  }
}
