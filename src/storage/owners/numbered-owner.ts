import { CacheError } from "../../cache/cache-error.ts";
import type { EntryOwner } from "../../cache/entry-owner.ts";
import type { IndexReader } from "../index/index-reader.ts";
import { recordFootprintBytes } from "../segment/segment-format.ts";
import type { OwnerEntry } from "./owners.ts";
import type { UseMarks } from "./use-marks.ts";

/** A shard of which the index is known. */
type Indexed = { readonly index: IndexReader };

/** What the records of an owner take on disk. */
export function ownedBytes(shards: readonly Indexed[], owner: number): number {
  return shards.reduce((sum, { index }) => sum + index.ownedBytes(owner), 0);
}

export interface NumberedOwnerParts {
  readonly marks: UseMarks;
  readonly shards: readonly Indexed[];
  /** See Quotas. @returns whether there is room. */
  readonly makeRoom: (bytes: number) => Promise<boolean>;
}

/** How soon a lease may have run out, or somebody have used less. */
const RETRY_AFTER_MS = 10_000;

/** The owner that a number stands for, in any thread. What it has is looked up in shared memory. */
export class NumberedOwner implements EntryOwner {
  private readonly entry: OwnerEntry;
  private readonly parts: NumberedOwnerParts;

  constructor(entry: OwnerEntry, parts: NumberedOwnerParts) {
    this.entry = entry;
    this.parts = parts;
  }

  get number(): number {
    return this.entry.owner;
  }

  noteUse(): void {
    this.parts.marks.set(this.entry.owner);
  }

  admit(sizeBytes: number): Promise<void> | undefined {
    const { owner, quotaBytes } = this.entry;
    if (quotaBytes === undefined) return undefined;
    const bytes = recordFootprintBytes(sizeBytes);
    if (ownedBytes(this.parts.shards, owner) + bytes <= quotaBytes) return undefined;
    return this.wait(bytes, quotaBytes);
  }

  private async wait(bytes: number, quotaBytes: number): Promise<void> {
    if (await this.parts.makeRoom(bytes)) return;
    throw new CacheError(
      "resource_exhausted",
      `quota: expected at most ${quotaBytes} bytes of this instance, and what it has is leased`,
      { retryAfterMs: RETRY_AFTER_MS },
    );
  }
}
