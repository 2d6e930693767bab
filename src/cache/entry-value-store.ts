import { CacheError } from "./cache-error.ts";
import { nameKey } from "./entry-key.ts";
import type { ByteRange, EntryContent, EntryStore, StagedEntry, StageOptions } from "./entry-store.ts";
import type { RangeOf, ValueStore } from "./value-store.ts";

const RENEW = { renew: true };

/** Values over a key space of an engine that is theirs alone. */
export class EntryValueStore implements ValueStore {
  readonly #entries: EntryStore;
  readonly #space: number;

  constructor(entries: EntryStore, space: number) {
    this.#entries = entries;
    this.#space = space;
  }

  find(name: string): number | undefined {
    return this.#entries.find(nameKey(this.#space, name), RENEW);
  }

  get(name: string, rangeOf?: RangeOf): Promise<EntryContent | undefined> | EntryContent | undefined {
    const key = nameKey(this.#space, name);
    const sizeBytes = this.#entries.find(key, RENEW);
    if (sizeBytes === undefined) return undefined;
    const range = rangeOf?.(sizeBytes);
    if (range === undefined) return this.#entries.get(key);
    return this.#part(this.#entries.get(key, range), range, sizeBytes);
  }

  stage(name: string, options?: StageOptions): Promise<StagedEntry> | StagedEntry {
    return this.#entries.stage(nameKey(this.#space, name), options);
  }

  /** Between the look-up and the opening another upload may have replaced the value that the range is of. */
  async #part(
    getting: Promise<EntryContent | undefined> | EntryContent | undefined,
    range: ByteRange,
    sizeBytes: number,
  ): Promise<EntryContent | undefined> {
    const content = await getting;
    if (content === undefined || content.sizeBytes === sizeBytes) return content;
    content.close();
    throw new CacheError("unavailable", `range from ${range.offset}: the value was replaced meanwhile`);
  }
}
