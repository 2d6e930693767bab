import type { DetachedEntry, StagedEntry } from "../entry-store.ts";
import { nextTurn } from "../turns.ts";
import { ZstdDecoder } from "./zstd-decoder.ts";

/** Decoded before the event loop gets a turn: about a millisecond of work. */
const BYTES_PER_TURN = 1024 * 1024;

/**
 * An upload that comes as zstd and is staged as what it decodes to, for who does not know how much that will be, which the
 * engine wants to know of what it stores encoded.
 */
export class DecodingUpload implements StagedEntry {
  readonly #inner: StagedEntry;
  readonly #decoder: ZstdDecoder;
  /** The decoder is in use until it settles. */
  #writing: Promise<void> = Promise.resolve();
  #isDiscarded = false;

  /** @param bytesMax of what it decodes to; past it the upload is too_large. */
  constructor(inner: StagedEntry, bytesMax: number) {
    this.#inner = inner;
    this.#decoder = new ZstdDecoder(bytesMax, false);
  }

  get key(): StagedEntry["key"] {
    return this.#inner.key;
  }

  get bytesStaged(): number {
    return this.#inner.bytesStaged;
  }

  /** Its size is not known. */
  keepAs(): void {}

  /** @throws {CacheError} invalid_argument where it is no zstd data; too_large; what staging throws. */
  write(chunk: Uint8Array): Promise<void> {
    const writing = this.#decode(chunk);
    this.#writing = writing.catch(() => undefined);
    return writing;
  }

  /** What comes of a chunk is known when it is decoded. */
  tryWrite(): boolean {
    return false;
  }

  async commit(): Promise<void> {
    try {
      this.#decoder.end();
    } catch (error) {
      await this.discard();
      throw error;
    }
    this.#decoder[Symbol.dispose]();
    await this.#inner.commit();
  }

  park(): Promise<void> {
    return this.#inner.park();
  }

  /** Half of a frame cannot go to another thread. */
  detach(): Promise<DetachedEntry> {
    throw new TypeError("an upload that is being decoded stays where it is");
  }

  /** Nor to another process. */
  leave(): Promise<void> {
    return this.discard();
  }

  async discard(): Promise<void> {
    this.#isDiscarded = true;
    await this.#writing;
    this.#decoder[Symbol.dispose]();
    await this.#inner.discard();
  }

  async #decode(chunk: Uint8Array): Promise<void> {
    let sinceTurnBytes = 0;
    for (const part of this.#decoder.decode(chunk)) {
      const writing = this.#inner.write(part);
      // It is copied by now, or when the promise is settled.
      if (writing !== undefined) await writing;
      sinceTurnBytes += part.length;
      if (sinceTurnBytes < BYTES_PER_TURN) continue;
      await nextTurn();
      // What is left of a chunk may decode to a great deal that nobody wants any more.
      if (this.#isDiscarded) return;
      sinceTurnBytes = 0;
    }
  }
}
