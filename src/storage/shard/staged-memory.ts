/** Larger files are adopted and not read, mostly; others have memory of their own. What is not used is not resident. */
const BYTES = 8 * 1024 * 1024;

/**
 * Memory of one thread that temp files are read into, used again for each batch of a group: fresh memory for each file
 * would be garbage that nobody collects before there are 64 MiB of it.
 *
 *     ├─ file ─┼─ file ─┼── free ──┤      forgotten when the batch is written
 */
export class StagedMemory {
  #bytes: Buffer | undefined;
  #taken = 0;

  /** Whether {@link take} has so much that was used before. */
  hasRoom(bytes: number): boolean {
    return this.#taken + bytes <= BYTES;
  }

  /** Memory with anything in it. */
  take(bytes: number): Buffer {
    if (!this.hasRoom(bytes)) return Buffer.allocUnsafe(bytes);
    this.#bytes ??= Buffer.allocUnsafeSlow(BYTES);
    const start = this.#taken;
    this.#taken += bytes;
    return this.#bytes.subarray(start, this.#taken);
  }

  /** All that was taken is needed no more. */
  forget(): void {
    this.#taken = 0;
  }
}

/** A thread has one shard, and a shard one group at a time. */
export const stagedMemory: StagedMemory = new StagedMemory();
