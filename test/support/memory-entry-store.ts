import { keyBytes } from "../../src/cache/key-words.ts";
import { CacheError } from "../../src/cache/cache-error.ts";
import { contentHashOf, hashMismatch } from "../../src/cache/content-hash.ts";
import { encodedBytesMax, type Encoding } from "../../src/cache/encoding.ts";
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
import { decodeZstd } from "../../src/cache/zstd/zstd-decoder.ts";

export interface MemoryEntryStoreOptions {
  /** Size of the chunks in which content is iterated. */
  readonly chunkBytes?: number;
  /** Bytes that may be staged at one time; past it `stage` and `write` throw resource_exhausted. */
  readonly stagingBytesMax?: number;
}

interface MemoryEntry {
  readonly bytes: Uint8Array;
  /** As it was uploaded, where that was encoded. */
  readonly zstd: Uint8Array | undefined;
}

function mapKey({ space, words }: EntryKey): string {
  return `${space}/${Buffer.from(keyBytes(words)).toString("hex")}`;
}

/**
 * An EntryStore in a Map, with the rules of the engine and none of its machinery. Its counters let a test see what
 * was left behind, and `holdCommits` stops time between the hand-over of the bytes and their publication.
 */
export class MemoryEntryStore implements EntryStore {
  readonly #entries = new Map<string, MemoryEntry>();
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
  /** What uploads are to be found by, in order. */
  readonly keptNames: string[] = [];

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
    const entry = this.#lookUp(key);
    if (entry !== undefined && options.renew === true) this.renewed.push(`${mapKey(key)}/${entry.bytes.length}`);
    return entry?.bytes.length;
  }

  async get(key: EntryKey, range: ByteRange = { offset: 0 }, accept?: Encoding): Promise<EntryContent | undefined> {
    const entry = this.#lookUp(key);
    if (entry === undefined) return undefined;
    const { bytes, zstd } = entry;
    const { offset, limit = bytes.length } = range;
    if (offset < 0 || offset > bytes.length) {
      throw new CacheError("out_of_range", `offset: expected 0 to ${bytes.length}, got ${offset}`);
    }
    this.openContents++;
    const onClose = (): void => {
      this.openContents--;
    };
    if (zstd !== undefined && accept === "zstd" && offset === 0 && limit >= bytes.length) {
      return new MemoryContent(bytes.length, zstd, "zstd", this.#chunkBytes, onClose);
    }
    const part = bytes.subarray(offset, offset + limit);
    return new MemoryContent(bytes.length, part, "identity", this.#chunkBytes, onClose);
  }

  /** All of it is in memory. */
  prefetch(): void {}

  async stage(key: EntryKey, options: StageOptions = {}): Promise<StagedEntry> {
    if (options.signal?.aborted === true) throw new CacheError("cancelled", "the call was cancelled");
    this.takeStaging(0);
    this.openStaged++;
    this.stagedEver++;
    return new MemoryStaged(this, key, options.encoding);
  }

  async attach(key: EntryKey, { state }: DetachedEntry): Promise<StagedEntry> {
    const { bytes, encoding } = state as { bytes: Uint8Array; encoding: Encoding };
    const staged = new MemoryStaged(this, key, encoding);
    this.openStaged++;
    staged.write(bytes);
    return staged;
  }

  async put(key: EntryKey, bytes: Uint8Array): Promise<void> {
    await this.publish(key, Uint8Array.from(bytes));
  }

  async putAll(puts: readonly EntryPut[]): Promise<unknown[]> {
    const settled = await Promise.allSettled(
      puts.map(({ key, bytes, encoding }) => this.publish(key, Uint8Array.from(bytes), encoding)),
    );
    return settled.map((result) => (result.status === "rejected" ? (result.reason as unknown) : undefined));
  }

  /** Where the key fixes the size, another one is another entry. */
  #lookUp(key: EntryKey): MemoryEntry | undefined {
    const entry = this.#entries.get(mapKey(key));
    return entry !== undefined && entry.bytes.length === (key.sizeBytes ?? entry.bytes.length) ? entry : undefined;
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
  async publish(key: EntryKey, staged: Uint8Array, encoding: Encoding = "identity"): Promise<void> {
    const entry: MemoryEntry =
      encoding === "identity"
        ? { bytes: staged, zstd: undefined }
        : { bytes: decodeZstd([staged], key.sizeBytes ?? 0), zstd: staged };
    if (isContentAddressed(key)) verify(key, entry.bytes);
    await this.#gate;
    if (!isContentAddressed(key) || !this.peek(key)) this.#entries.set(mapKey(key), entry);
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
  readonly #encoding: Encoding;
  #chunks: Uint8Array[] = [];
  #isEnded = false;
  bytesStaged = 0;

  constructor(store: MemoryEntryStore, key: EntryKey, encoding: Encoding = "identity") {
    this.#store = store;
    this.key = key;
    this.#encoding = encoding;
  }

  keepAs(name: string): void {
    this.#store.keptNames.push(name);
  }

  write(chunk: Uint8Array): void {
    if (this.#isEnded) throw new CacheError("internal", "write after the upload has ended");
    const sizeBytes = this.#encoding === "identity" ? this.key.sizeBytes : encodedBytesMax(this.key.sizeBytes ?? 0);
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
    await this.#store.publish(this.key, bytes, this.#encoding);
  }

  /** There is nowhere else to put the bytes. */
  async park(): Promise<void> {}

  async detach(): Promise<DetachedEntry> {
    const { bytesStaged } = this;
    const state = { bytes: Buffer.concat(this.#chunks), encoding: this.#encoding };
    this.#end();
    return { bytesStaged, state };
  }

  /** Memory ends with the process. */
  async leave(): Promise<void> {
    if (!this.#isEnded) this.#end();
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
  readonly encoding: Encoding;
  readonly #range: Uint8Array;
  readonly #chunkBytes: number;
  readonly #onClose: () => void;
  #isClosed = false;

  constructor(sizeBytes: number, range: Uint8Array, encoding: Encoding, chunkBytes: number, onClose: () => void) {
    this.sizeBytes = sizeBytes;
    this.encoding = encoding;
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
