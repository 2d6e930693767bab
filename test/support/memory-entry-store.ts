import { keyBytes } from "../../src/cache/key-words.ts";
import { CacheError } from "../../src/cache/cache-error.ts";
import { contentHashOf, hashMismatch } from "../../src/cache/content-hash.ts";
import { digestFunctionOfSpace, type EntryKey, isContentAddressed } from "../../src/cache/entry-key.ts";
import type {
  ByteRange,
  DetachedEntry,
  EntryContent,
  EntryPut,
  EntryStore,
  StageOptions,
  StagedEntry,
} from "../../src/cache/entry-store.ts";

export interface MemoryEntryStoreOptions {
  /** Size of the chunks in which content is iterated. */
  readonly chunkBytes?: number;
  /** Bytes that may be staged at one time; past it `stage` and `write` throw resource_exhausted. */
  readonly stagingBytesMax?: number;
}

function mapKey({ space, words }: EntryKey): string {
  return `${space}/${Buffer.from(keyBytes(words)).toString("hex")}`;
}

/**
 * An EntryStore in a Map, with the rules of the engine and none of its machinery. Its counters let a test see what
 * was left behind, and `holdCommits` stops time between the hand-over of the bytes and their publication.
 */
export class MemoryEntryStore implements EntryStore {
  readonly #entries = new Map<string, Uint8Array>();
  readonly #chunkBytes: number;
  readonly #stagingBytesMax: number;
  #gate: Promise<void> | undefined;
  /** Keys whose lease was renewed by `find`, in order, as `space/hex/size`. */
  readonly renewed: string[] = [];
  /** Uploads that were begun and have neither been committed nor discarded. */
  openStaged = 0;
  /** Contents that were opened and not closed. */
  openContents = 0;
  /** Uploads ever begun. */
  stagedEver = 0;
  stagedBytes = 0;

  constructor(options: MemoryEntryStoreOptions = {}) {
    this.#chunkBytes = options.chunkBytes ?? 64 * 1024;
    this.#stagingBytesMax = options.stagingBytesMax ?? Number.POSITIVE_INFINITY;
  }

  /** Every commit from now on waits until the function that is returned is called. */
  holdCommits(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gate = promise;
    return () => {
      this.#gate = undefined;
      resolve();
    };
  }

  /** Drops an entry, as retention does. */
  retire(key: EntryKey): void {
    this.#entries.delete(mapKey(key));
  }

  peek(key: EntryKey): boolean {
    return this.#lookUp(key) !== undefined;
  }

  find(key: EntryKey, options: { renew?: boolean } = {}): number | undefined {
    const bytes = this.#lookUp(key);
    if (bytes !== undefined && options.renew === true) this.renewed.push(`${mapKey(key)}/${bytes.length}`);
    return bytes?.length;
  }

  async get(key: EntryKey, range: ByteRange = { offset: 0 }): Promise<EntryContent | undefined> {
    const bytes = this.#lookUp(key);
    if (bytes === undefined) return undefined;
    const { offset, limit = bytes.length } = range;
    if (offset < 0 || offset > bytes.length) {
      throw new CacheError("out_of_range", `offset: expected 0 to ${bytes.length}, got ${offset}`);
    }
    this.openContents++;
    return new MemoryContent(bytes.length, bytes.subarray(offset, offset + limit), this.#chunkBytes, () => {
      this.openContents--;
    });
  }

  async stage(key: EntryKey, options: StageOptions = {}): Promise<StagedEntry> {
    if (options.signal?.aborted === true) throw new CacheError("cancelled", "the call was cancelled");
    this.takeStaging(0);
    this.openStaged++;
    this.stagedEver++;
    return new MemoryStaged(this, key);
  }

  async attach(key: EntryKey, { state }: DetachedEntry): Promise<StagedEntry> {
    const staged = new MemoryStaged(this, key);
    this.openStaged++;
    staged.write(state as Uint8Array);
    return staged;
  }

  async put(key: EntryKey, bytes: Uint8Array): Promise<void> {
    await this.publish(key, Uint8Array.from(bytes));
  }

  async putAll(puts: readonly EntryPut[]): Promise<unknown[]> {
    const settled = await Promise.allSettled(puts.map(({ key, bytes }) => this.put(key, bytes)));
    return settled.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
  }

  /** Where the key fixes the size, another one is another entry. */
  #lookUp(key: EntryKey): Uint8Array | undefined {
    const bytes = this.#entries.get(mapKey(key));
    return bytes !== undefined && bytes.length === (key.sizeBytes ?? bytes.length) ? bytes : undefined;
  }

  /** For the staged entries only. */
  takeStaging(sizeBytes: number): void {
    const room = this.#stagingBytesMax - this.stagedBytes;
    if (room <= 0 || sizeBytes > room) {
      throw new CacheError("resource_exhausted", "staging is full", { retryAfterMs: 1000 });
    }
    this.stagedBytes += sizeBytes;
  }

  /** For the staged entries only. */
  async publish(key: EntryKey, bytes: Uint8Array): Promise<void> {
    if (isContentAddressed(key)) verify(key, bytes);
    await this.#gate;
    this.#entries.set(mapKey(key), bytes);
  }
}

function verify(key: EntryKey, bytes: Uint8Array): void {
  if (bytes.length !== (key.sizeBytes ?? bytes.length)) {
    throw new CacheError("invalid_argument", `size: expected ${key.sizeBytes} bytes, got ${bytes.length}`);
  }
  const got = contentHashOf(digestFunctionOfSpace(key.space), [bytes]);
  const mismatch = hashMismatch(keyBytes(key.words), got, bytes.length);
  if (mismatch !== undefined) throw new CacheError("invalid_argument", mismatch);
}

class MemoryStaged implements StagedEntry {
  readonly key: EntryKey;
  readonly #store: MemoryEntryStore;
  #chunks: Uint8Array[] = [];
  #isEnded = false;
  bytesStaged = 0;

  constructor(store: MemoryEntryStore, key: EntryKey) {
    this.#store = store;
    this.key = key;
  }

  write(chunk: Uint8Array): void {
    if (this.#isEnded) throw new CacheError("internal", "write after the upload has ended");
    const { sizeBytes } = this.key;
    if (sizeBytes !== undefined && this.bytesStaged + chunk.length > sizeBytes) {
      throw new CacheError("invalid_argument", `size: expected ${sizeBytes} bytes, got more`);
    }
    this.#store.takeStaging(chunk.length);
    this.#chunks.push(Uint8Array.from(chunk));
    this.bytesStaged += chunk.length;
  }

  tryWrite(chunk: Uint8Array): boolean {
    try {
      this.write(chunk);
      return true;
    } catch {
      return false;
    }
  }

  async commit(): Promise<void> {
    if (this.#isEnded) throw new CacheError("internal", "commit after the upload has ended");
    const bytes = Buffer.concat(this.#chunks);
    this.#end();
    await this.#store.publish(this.key, bytes);
  }

  /** There is nowhere else to put the bytes. */
  async park(): Promise<void> {}

  async detach(): Promise<DetachedEntry> {
    const { bytesStaged } = this;
    const state = Buffer.concat(this.#chunks);
    this.#end();
    return { bytesStaged, state };
  }

  async discard(): Promise<void> {
    if (!this.#isEnded) this.#end();
  }

  #end(): void {
    this.#isEnded = true;
    this.#chunks = [];
    this.#store.openStaged--;
    this.#store.stagedBytes -= this.bytesStaged;
  }
}

class MemoryContent implements EntryContent {
  readonly sizeBytes: number;
  readonly #range: Uint8Array;
  readonly #chunkBytes: number;
  readonly #onClose: () => void;
  #isClosed = false;

  constructor(sizeBytes: number, range: Uint8Array, chunkBytes: number, onClose: () => void) {
    this.sizeBytes = sizeBytes;
    this.#range = range;
    this.#chunkBytes = chunkBytes;
    this.#onClose = onClose;
  }

  async bytes(): Promise<Uint8Array> {
    this.close();
    return this.#range;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    try {
      for (let offset = 0; offset < this.#range.length; offset += this.#chunkBytes) {
        yield this.#range.subarray(offset, offset + this.#chunkBytes);
      }
    } finally {
      this.close();
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#onClose();
  }
}
