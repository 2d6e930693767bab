import type { CacheMeter, ValueKind } from "./cache-meter.ts";
import type { ByteRange, EntryContent, StagedEntry, StageOptions } from "./entry-store.ts";
import { bytesInRange } from "./measured-blob-store.ts";
import { MeasuredStagedEntry } from "./measured-staged-entry.ts";
import type { RangeOf, ValueStore } from "./value-store.ts";

/** Counts hits, misses and bytes of values of one kind. */
export class MeasuredValueStore implements ValueStore {
  readonly #inner: ValueStore;
  readonly #meter: CacheMeter;
  readonly #kind: ValueKind;

  constructor(inner: ValueStore, meter: CacheMeter, kind: ValueKind) {
    this.#inner = inner;
    this.#meter = meter;
    this.#kind = kind;
  }

  find(name: string): number | undefined {
    const sizeBytes = this.#inner.find(name);
    this.#meter.countLookups(this.#kind, sizeBytes === undefined ? "miss" : "hit", 1);
    return sizeBytes;
  }

  get(name: string, rangeOf?: RangeOf): Promise<EntryContent | undefined> | EntryContent | undefined {
    let range: ByteRange | undefined;
    const getting = this.#inner.get(name, rangeOf && ((sizeBytes) => (range = rangeOf(sizeBytes))));
    return getting instanceof Promise
      ? getting.then((content) => this.#counted(content, range))
      : this.#counted(getting, range);
  }

  stage(name: string, options?: StageOptions): Promise<StagedEntry> | StagedEntry {
    const measured = (staged: StagedEntry): StagedEntry =>
      new MeasuredStagedEntry(staged, (bytes) => this.#meter.countBytes(this.#kind, "written", bytes));
    const staging = this.#inner.stage(name, options);
    return staging instanceof Promise ? staging.then(measured) : measured(staging);
  }

  #counted(content: EntryContent | undefined, range: ByteRange | undefined): EntryContent | undefined {
    this.#meter.countLookups(this.#kind, content === undefined ? "miss" : "hit", 1);
    if (content !== undefined) this.#meter.countBytes(this.#kind, "read", bytesInRange(content.sizeBytes, range));
    return content;
  }
}
