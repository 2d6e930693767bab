import type { FileSystem } from "../../src/storage/file-system.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { SimulatedFile } from "./simulated-file.ts";
import { SimulatedNames } from "./simulated-names.ts";
import { SimulatedProcess } from "./simulated-process.ts";

/** Calls that a fault strikes alike, whether they block or not. */
export const CALL_KINDS = {
  makeDirectory: "makeDirectory",
  listDirectory: "list",
  syncDirectory: "syncDirectory",
  open: "open",
  openAsync: "open",
  close: "close",
  closeAsync: "close",
  sizeOf: "read",
  modifiedAtMs: "read",
  read: "read",
  readAsync: "read",
  writeVector: "write",
  writeAsync: "write",
  truncate: "truncate",
  syncData: "syncData",
  syncDataAsync: "syncData",
  rename: "rename",
  remove: "remove",
} as const satisfies Record<keyof FileSystem, string>;

export type CallKind = (typeof CALL_KINDS)[keyof FileSystem];

/**
 * Something that goes wrong once.
 * - a code: the call fails with it; a write may have written a part; a failed `syncData` drops the dirty pages
 * - `power cut`: before or after the call took effect, what was not synced is gone or not
 * - `kill`: the same, but the page cache stays
 */
export interface DiskFault {
  readonly kind: CallKind | "any";
  /** Which of the matching calls from now, from 1. */
  readonly countdown: number;
  readonly effect: "EIO" | "ENOSPC" | "EMFILE" | "power cut" | "kill";
}

export interface SimulatedDiskOptions {
  readonly random: SeededRandom;
  /** Share of reads and writes that do less than asked. */
  readonly shortShare?: number;
  readonly mountPoint?: string;
}

/**
 * A disk with a page cache before it, in memory and by a seed: it forgets what was not synced, tears writes between
 * sectors, fails, does short reads and writes, and fills up. Processes use it through `startProcess`; `killProcesses`
 * ends them and keeps the page cache, `cutPower` ends them and loses it.
 *
 * Promised, and nothing more: a sector is written whole or not at all; `syncData` makes contents and size of a file
 * durable, but not its name; a failed one has dropped the dirty pages for good and the next one succeeds; names are
 * as `SimulatedNames` says, and a failed sync of a directory may be repeated.
 */
export class SimulatedDisk {
  readonly random: SeededRandom;
  readonly names: SimulatedNames;
  shortShare: number;
  /** Bytes of files that the disk takes before ENOSPC. */
  spaceBytes = Number.POSITIVE_INFINITY;
  /** Share of what was not synced that the next power cut spares. */
  survival = 0.5;
  /** The largest sum of file sizes since it was last set. */
  peakBytes = 0;
  /** Power cuts so far. */
  powerCuts = 0;
  /** Writes so far that found no room at all. */
  writesWithoutRoom = 0;
  /** Called with the file and path before a name is removed or replaced. */
  onRemove: (path: string, file: SimulatedFile) => void = () => undefined;
  /** Called when a fault has struck. */
  onStrike: () => void = () => undefined;
  /** Called when all processes have ended. */
  onEnd: () => void = () => undefined;
  /** Faults that have struck, in order. */
  readonly struck: DiskFault[] = [];
  #faults: (DiskFault & { left: number })[] = [];
  #life = 0;

  constructor({ random, shortShare = 0, mountPoint = "/disk" }: SimulatedDiskOptions) {
    this.random = random;
    this.shortShare = shortShare;
    this.names = new SimulatedNames(mountPoint);
  }

  /** @param turn Awaited before every asynchronous call takes effect. */
  startProcess(turn: () => Promise<void>): SimulatedProcess {
    return new SimulatedProcess(this, turn);
  }

  /** Processes of an earlier life are dead: their calls fail and change nothing. */
  get life(): number {
    return this.#life;
  }

  killProcesses(): void {
    this.#life += 1;
    this.#faults = [];
    this.onEnd();
  }

  cutPower(): void {
    this.powerCuts += 1;
    this.killProcesses();
    const cut = { random: this.random, survival: this.survival };
    this.names.cutPower(cut);
    for (const [, file] of this.names.files()) file.cutPower(cut);
  }

  plan(fault: DiskFault): void {
    this.#faults.push({ ...fault, left: fault.countdown });
  }

  clearFaults(): void {
    this.#faults = [];
  }

  /** A look from outside: no fault strikes it, and none counts it. */
  inspect<T>(look: (fileSystem: FileSystem) => T): T {
    const [faults, shortShare] = [this.#faults, this.shortShare];
    this.#faults = [];
    this.shortShare = 0;
    try {
      return look(this.startProcess(() => Promise.resolve()));
    } finally {
      this.#faults = faults;
      this.shortShare = shortShare;
    }
  }

  /** Bytes of all files that have a name. */
  get usedBytes(): number {
    let bytes = 0;
    for (const [, file] of this.names.files()) bytes += file.sizeBytes;
    return bytes;
  }

  /** Room for a file to grow by up to `bytes`. */
  roomFor(bytes: number): number {
    return Math.max(0, Math.min(bytes, this.spaceBytes - this.usedBytes));
  }

  noteGrowth(): void {
    this.peakBytes = Math.max(this.peakBytes, this.usedBytes);
  }

  /** @returns the fault that strikes this call. For {@link SimulatedProcess}. */
  strike(call: keyof FileSystem): DiskFault | undefined {
    if (this.#faults.length === 0) return undefined;
    let striking: DiskFault | undefined;
    for (const fault of this.#faults) {
      if (fault.kind !== "any" && fault.kind !== CALL_KINDS[call]) continue;
      fault.left -= 1;
      if (fault.left <= 0) striking ??= fault;
    }
    if (striking === undefined) return undefined;
    this.#faults = this.#faults.filter((fault) => fault !== striking);
    this.struck.push(striking);
    this.onStrike();
    return striking;
  }
}
