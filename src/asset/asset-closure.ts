import type { BlobStore } from "../cache/blob-store.ts";
import type { Digest } from "../cache/digest.ts";
import type { DirectoryReferences, OutputReferencesReader } from "../cache/output-references.ts";
import { takeNewDigests } from "../cache/take-new-digests.ts";
import { nextTurn, slices } from "../cache/turns.ts";
import type { Asset, AssetKind } from "./asset.ts";

export interface AssetClosureOptions {
  /** Distinct blobs behind one asset; one with more counts as absent. Default 1,000,000. */
  readonly referencesMax?: number;
  /** Size of one Directory message, which is decoded in memory. Default 16 MiB. */
  readonly directoryBytesMax?: number;
}

/** Look-ups made before the event loop gets a turn: about half a millisecond of work. */
const LOOKUPS_PER_TURN = 1024;

/** Everything that an asset stands for: its blob, or its directory with all below it, and what it refers to. */
export class AssetClosure {
  readonly #blobs: BlobStore;
  readonly #references: OutputReferencesReader;
  readonly #referencesMax: number;
  readonly #directoryBytesMax: number;

  constructor(blobs: BlobStore, references: OutputReferencesReader, options: AssetClosureOptions = {}) {
    this.#blobs = blobs;
    this.#references = references;
    this.#referencesMax = options.referencesMax ?? 1_000_000;
    this.#directoryBytesMax = options.directoryBytesMax ?? 16 * 1024 * 1024;
  }

  /**
   * Whether all of it is in the CAS now; the leases of what is there are renewed. Walks down level by level: a
   * Directory is read only after the look-up that renewed its lease, so it cannot be retired in between.
   */
  async isPresent(kind: AssetKind, { digest, blobs, directories }: Asset): Promise<boolean> {
    const seen = new Set<string>();
    const roots = kind === "directory" ? [digest, ...directories] : directories;
    let level = takeNewDigests(roots, seen);
    if (!(await this.#arePresent([...takeNewDigests([digest, ...blobs], seen), ...level]))) return false;
    while (level.length > 0) {
      const found: DirectoryReferences[] = [];
      for (const directory of level) {
        const references = await this.#read(directory);
        if (references === undefined) return false;
        found.push(references);
      }
      level = found.flatMap((references) => takeNewDigests(references.directories, seen));
      const files = found.flatMap((references) => takeNewDigests(references.files, seen));
      if (seen.size > this.#referencesMax || !(await this.#arePresent([...files, ...level]))) return false;
    }
    return true;
  }

  async #arePresent(digests: readonly Digest[]): Promise<boolean> {
    for (const [index, slice] of slices(digests, LOOKUPS_PER_TURN).entries()) {
      if (index > 0) await nextTurn();
      if (!(await this.#blobs.renewAll(slice))) return false;
    }
    return true;
  }

  /** @returns undefined where it is absent, too large, or does not decode. */
  async #read(directory: Digest): Promise<DirectoryReferences | undefined> {
    if (directory.sizeBytes > this.#directoryBytesMax) return undefined;
    const content = await this.#blobs.get(directory);
    if (content === undefined) return undefined;
    const bytes = await content.bytes();
    try {
      return this.#references.ofDirectory(bytes, directory.fn);
    } catch {
      return undefined;
    }
  }
}
