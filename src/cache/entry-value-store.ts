import { CacheError } from "./cache-error.ts";
import { type ValueProtocol, valueKey } from "./entry-key.ts";
import type { ByteRange, EntryContent, EntryStore, StagedEntry, StageOptions } from "./entry-store.ts";
import type { RangeOf, ValueStore } from "./value-store.ts";

const RENEW = { renew: true };

/** The values of one protocol over its key space of an engine. */
export class EntryValueStore implements ValueStore {
  readonly #entries: EntryStore;
  readonly #protocol: ValueProtocol;

  constructor(entries: EntryStore, protocol: ValueProtocol) {
    this.#entries = entries;
    this.#protocol = protocol;
  }

  find(name: string): number | undefined {
    return this.#entries.find(valueKey(this.#protocol, name), RENEW);
  }

  get(name: string, rangeOf?: RangeOf): Promise<EntryContent | undefined> | EntryContent | undefined {
    const key = valueKey(this.#protocol, name);
    const sizeBytes = this.#entries.find(key, RENEW);
    if (sizeBytes === undefined) return undefined;
    const range = rangeOf?.(sizeBytes);
    if (range === undefined) return this.#entries.get(key);
    return this.#part(this.#entries.get(key, range), range, sizeBytes);
  }

  stage(name: string, options?: StageOptions): Promise<StagedEntry> | StagedEntry {
    return this.#entries.stage(valueKey(this.#protocol, name), options);
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
