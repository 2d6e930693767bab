import { NO_ROOM } from "../../../src/storage/shard/index-loading.ts";
import type { EntryKey } from "../../../src/cache/entry-key.ts";
import type { EntryStore } from "../../../src/cache/entry-store.ts";
import { OwnedEntryStore } from "../../../src/cache/owned-entry-store.ts";
import type { CacheError } from "../../../src/cache/cache-error.ts";
import { StorageEngine } from "../../../src/storage/storage-engine.ts";
import { LocalShards } from "../../support/local-shard.ts";
import { ManualTimers } from "../../support/manual-timers.ts";
import { SeededScheduler } from "../../support/seeded-scheduler.ts";
import type { SimulatedDisk } from "../../support/simulated-disk.ts";
import type { SimulatedProcess } from "../../support/simulated-process.ts";
import type { EngineSetup } from "./engine-commands.ts";
import { ModelViolation } from "./engine-model.ts";
import type { ManualClock } from "./manual-clock.ts";
import { ADOPT_BYTES_MIN, SLAB_UPLOAD_BYTES_MAX } from "./model-contents.ts";

export const DIRECTORY = "/disk/store";
const ADMISSION_WAIT_MS = 1000;
const SLAB_BLOCK_BYTES = 32 * 1024;

/** How something ended: with a value, with an error, or not before the process did. */
export type Settled<T> =
  | { readonly how: "value"; readonly value: T }
  | { readonly how: "error"; readonly error: CacheError | Error }
  | { readonly how: "over" };

/** One life of a process that has the engine open: its turns, its descriptors, its shards. */
export class EngineLife {
  readonly #disk: SimulatedDisk;
  readonly #scheduler: SeededScheduler;
  readonly #timers = new ManualTimers();
  readonly #files: SimulatedProcess[] = [];
  readonly #life: number;
  readonly #over: Promise<Settled<never>>;
  readonly shards: LocalShards;
  #store: StorageEngine | undefined;
  #instances: readonly EntryStore[] = [];
  #hasLeftOut = false;

  private constructor(disk: SimulatedDisk, clock: ManualClock) {
    this.#disk = disk;
    this.#life = disk.life;
    this.#scheduler = new SeededScheduler(disk.random);
    this.#over = new Promise((resolve) => {
      disk.onEnd = () => {
        this.#scheduler.stop();
        resolve({ how: "over" });
      };
    });
    const startThread = (): SimulatedProcess => this.#startThread();
    this.shards = new LocalShards({ scheduler: this.#scheduler, clock, random: disk.random, startThread });
  }

  static async open(
    disk: SimulatedDisk,
    clock: ManualClock,
    setup: EngineSetup,
    shardCount: number,
  ): Promise<{ life: EngineLife; opened: Settled<StorageEngine> }> {
    const life = new EngineLife(disk, clock);
    const opening = StorageEngine.open({
      directory: DIRECTORY,
      maxBytes: setup.maxBytes,
      shardCount,
      durability: setup.durability,
      atRest: setup.atRest,
      minLeaseMs: setup.minLeaseSeconds * 1000,
      fairShare: setup.fairShare,
      segmentBytesMax: setup.segmentBytesMax,
      stagingMemoryBytes: setup.slabBlocks * SLAB_BLOCK_BYTES,
      slabUploadBytesMax: SLAB_UPLOAD_BYTES_MAX,
      adoptBytesMin: ADOPT_BYTES_MIN,
      maxBytesMin: 0,
      entryCountMax: setup.entryCountMax,
      checkpointIntervalMs: 0,
      admissionWaitMs: ADMISSION_WAIT_MS,
      logger: {
        info: () => undefined,
        warn(_fields, message) {
          if (message.startsWith(NO_ROOM)) life.#hasLeftOut = true;
        },
        error: () => undefined,
      },
      clock,
      timers: life.#timers,
      fileSystem: life.#startThread(),
      startShard: life.shards.start,
      lock: () => ({ [Symbol.dispose]: () => undefined }),
    });
    const opened = await life.settle(opening);
    if (opened.how === "value") life.#use(opened.value, setup.fairShare);
    return { life, opened };
  }

  get store(): StorageEngine {
    if (this.#store === undefined) throw new Error("the engine is not open");
    return this.#store;
  }

  /** Where uploads of this key go, on somebody's account or nobody's. */
  storeFor({ words }: EntryKey): EntryStore {
    return this.#instances[(words[1] ?? 0) & 3] ?? this.store;
  }

  #use(store: StorageEngine, fairShare: boolean): void {
    this.#store = store;
    if (fairShare) this.#instances = ["", "a", "b"].map((name) => new OwnedEntryStore(store, store, name));
  }

  /** Whether a start, of all or of one shard, has left out entries since this was last asked. */
  takeLeftOut(): boolean {
    const hasLeftOut = this.#hasLeftOut;
    this.#hasLeftOut = false;
    return hasLeftOut;
  }

  get isOpen(): boolean {
    return this.#store !== undefined && !this.isOver;
  }

  get isOver(): boolean {
    return this.#life !== this.#disk.life;
  }

  /** Files that were opened and not closed, by the main thread or a shard. */
  get openFiles(): string[] {
    return this.#files.flatMap((files) => files.openFiles);
  }

  /** Lets so many turns pass. */
  steps(count: number): Promise<void> {
    return this.#scheduler.steps(count);
  }

  /** Lets turns pass until nothing is left to do; only uploads that wait for room are. */
  async idle(): Promise<void> {
    await this.#scheduler.steps(Number.POSITIVE_INFINITY);
  }

  /** Waits for an outcome. Time passes only where nothing else can happen. */
  async settle<T>(outcome: Promise<T>): Promise<Settled<T>> {
    let settled: Settled<T> | undefined;
    const note = (how: Settled<T>): void => void (settled ??= how);
    outcome.then(
      (value) => note({ how: "value", value }),
      (error: Error) => note({ how: "error", error }),
    );
    void this.#over.then(note);
    for (;;) {
      await this.idle();
      if (settled !== undefined) return settled;
      if (this.isOver) return { how: "over" };
      if (this.#timers.running === 0) throw new ModelViolation("stuck: nothing is left to run and no outcome");
      this.#timers.advance(ADMISSION_WAIT_MS);
    }
  }

  /** The process ends now, orderly or not. */
  end(how: "kill" | "power cut"): void {
    if (this.isOver) return;
    if (how === "kill") this.#disk.killProcesses();
    else this.#disk.cutPower();
  }

  /** Lets go of what an ended process holds in this one: timers, above all. */
  abandon(): void {
    this.#scheduler.stop();
    this.#store?.[Symbol.asyncDispose]().catch(() => undefined);
  }

  #startThread(): SimulatedProcess {
    const files = this.#disk.startProcess(() => this.#scheduler.turn());
    this.#files.push(files);
    return files;
  }
}
