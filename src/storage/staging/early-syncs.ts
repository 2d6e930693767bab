import type { FileSystem } from "../file-system.ts";

/**
 * Syncs of large temp files while the rest of them arrives, so that the sync at the end, which the upload and the other
 * uploads of its shard wait for, finds little left to write. One at a time in each thread: libuv's pool is there for
 * reads, too.
 */
export class EarlySyncs {
  /** A file is worth a sync once so much of it was written since its last one. */
  readonly stepBytes: number;
  readonly #fileSystem: FileSystem;
  #isBusy = false;

  constructor(fileSystem: FileSystem, stepBytes: number) {
    this.#fileSystem = fileSystem;
    this.stepBytes = stepBytes;
  }

  /** @returns undefined where another file has its turn. It rejects with what the file system reports. */
  tryStart(fd: number): Promise<void> | undefined {
    if (this.#isBusy) return undefined;
    this.#isBusy = true;
    return this.#fileSystem.syncDataAsync(fd).finally(() => {
      this.#isBusy = false;
    });
  }
}
