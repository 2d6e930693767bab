import process from "node:process";
import { type FileSystem, readFully } from "../file-system.ts";

export interface PromptReadsOptions {
  readonly fileSystem: FileSystem;
  readonly nowMs?: () => number;
  /** Blocks that this process has had read from disks so far; only its change counts. */
  readonly diskReads?: () => number;
}

/** A read from the page cache takes a tenth of it. */
const SLOW_MS = 1;
/** So waiting for a disk takes a fiftieth of the thread's time at the most. */
const PAUSE_FACTOR = 50;

/**
 * Reads on the thread itself what is expected in the page cache: through libuv's pool the same costs several times as
 * much (bench/README.md). Should a disk have been waited for, the next reads go through the pool for fifty times as
 * long. A slow read without any read from a disk means that another process had the core.
 */
export class PromptReads {
  readonly #fileSystem: FileSystem;
  readonly #nowMs: () => number;
  readonly #diskReads: () => number;
  #diskReadsSeen: number;
  #pausedUntilMs = 0;

  constructor({
    fileSystem,
    nowMs = () => performance.now(),
    diskReads = () => process.resourceUsage().fsRead,
  }: PromptReadsOptions) {
    this.#fileSystem = fileSystem;
    this.#nowMs = nowMs;
    this.#diskReads = diskReads;
    this.#diskReadsSeen = diskReads();
  }

  /** Whether {@link read} may be used now. */
  get arePrompt(): boolean {
    return this.#pausedUntilMs === 0 || this.#isPauseOver();
  }

  /** @returns bytes read: fewer than asked for at the end of the file. @throws what the file system reports. */
  read(fd: number, target: Uint8Array, position: number): number {
    const startedMs = this.#nowMs();
    const bytes = readFully(this.#fileSystem, fd, target, position);
    const endedMs = this.#nowMs();
    if (endedMs - startedMs >= SLOW_MS) this.#noteSlow(endedMs, endedMs - startedMs);
    return bytes;
  }

  #isPauseOver(): boolean {
    if (this.#nowMs() < this.#pausedUntilMs) return false;
    this.#pausedUntilMs = 0;
    // Reads through the pool say nothing of those to come.
    this.#diskReadsSeen = this.#diskReads();
    return true;
  }

  #noteSlow(nowMs: number, tookMs: number): void {
    const diskReads = this.#diskReads();
    if (diskReads !== this.#diskReadsSeen) this.#pausedUntilMs = nowMs + PAUSE_FACTOR * tookMs;
    this.#diskReadsSeen = diskReads;
  }
}
