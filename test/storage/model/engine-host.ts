import { CacheError } from "../../../src/cache/cache-error.ts";
import type { StorageEngine } from "../../../src/storage/storage-engine.ts";
import { leaseSeconds } from "../../../src/storage/lease-clock.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { type DiskFault, SimulatedDisk } from "../../support/simulated-disk.ts";
import type { EngineSetup, Restart } from "./engine-commands.ts";
import { EngineDisk } from "./engine-disk.ts";
import { DIRECTORY, EngineLife } from "./engine-life.ts";
import { EngineModel, ModelViolation } from "./engine-model.ts";
import { NAMED_KEYS, nameOfRecord, namedKey } from "./engine-names.ts";
import { ManualClock } from "./manual-clock.ts";
import type { RunFigures } from "./run-figures.ts";

/** Faults after which a file may be left that the ledger no longer counts, until the next start. */
const LITTERING: ReadonlySet<string> = new Set(["remove", "truncate", "rename", "close"]);
const START_TRIES_MAX = 5;

/** What has happened to the process that excuses what its callers see. */
export interface Excuses {
  /** @throws {ModelViolation} where nothing explains the error. */
  assertExplained(error: Error): void;
  /** @throws {ModelViolation} where the entry must be there. */
  noteAbsent(name: string): void;
}

/** The machine on which the engine under test lives and dies: disk, clock, one process after the other. */
export class EngineHost implements Excuses {
  readonly disk: SimulatedDisk;
  readonly clock = new ManualClock();
  readonly model = new EngineModel();
  readonly #files: EngineDisk;
  readonly #setup: EngineSetup;
  readonly #figures: RunFigures;
  shardCount: number;
  #life: EngineLife | undefined;
  #struckBefore = 0;
  #powerCutsBefore = 0;
  #writesWithoutRoomBefore = 0;
  #shardsDied = 0;
  /** Nothing is under way: no upload, no retirement. */
  #isQuiet = false;
  /** Of an orderly end. */
  #accountsAtClose: string | undefined;
  /** No record was damaged, unreadable or left out: one that was leaves the index, and a start that reads footers finds it. */
  #isIntact = true;
  /** A power cut may undo removals: then more is there than allowed, until retirement has caught up. */
  #bytesAtStart = 0;

  constructor(setup: EngineSetup, seed: number, figures: RunFigures) {
    this.#setup = setup;
    this.#figures = figures;
    this.shardCount = setup.shardCount;
    this.disk = new SimulatedDisk({ random: seededRandom(seed), shortShare: setup.shortShare });
    this.disk.survival = setup.survival;
    this.disk.onRemove = (path) => this.#noteRemoval(path);
    this.disk.onStrike = () => this.#noteDroppedPages();
    this.#files = new EngineDisk(this.disk);
  }

  get life(): EngineLife {
    if (this.#life === undefined) throw new Error("no process runs");
    return this.#life;
  }

  assertExplained(error: Error): void {
    if (error instanceof ModelViolation) throw error;
    const code = error instanceof CacheError ? error.code : "none";
    // Leases may hold all of the room, and the disk may be full: then uploads are refused.
    if (code === "storage_full" || code === "resource_exhausted") return;
    if (this.#struck.length > 0 || this.#shardsDied > 0 || this.disk.spaceBytes !== Number.POSITIVE_INFINITY) return;
    throw new ModelViolation(`failed for no reason: ${error.stack ?? error.message}`, { cause: error });
  }

  noteAbsent(name: string): void {
    this.#noteDroppedPages();
    // A shard that was started again reads anew what the index may have had no room for.
    if (this.life.takeLeftOut()) {
      this.model.evictAll();
      this.#isIntact = false;
    }
    if (this.model.mayBeAbsent(name)) return;
    // A foreign segment stays until every shard has taken its keys out; one that has died, or finds no room for the copies
    // on a full disk, keeps it, while the others have let go of theirs.
    const isDiskFull = this.disk.spaceBytes !== Number.POSITIVE_INFINITY;
    const mayBeUnderWay = !this.#isQuiet || this.#struck.length > 0 || this.#shardsDied > 0 || isDiskFull;
    if (mayBeUnderWay && this.#liesInForeignSegment(name)) this.model.evict(name, this.nowSeconds, false);
    this.model.observeAbsent(name, this.readsFailed);
  }

  /** Reads of the disk have failed: what could not be read is a miss until the next start. */
  get readsFailed(): boolean {
    return this.#struck.some(({ kind }) => kind === "read" || kind === "open");
  }

  get nowSeconds(): number {
    return leaseSeconds(this.clock);
  }

  /** Faults that have struck in this life. */
  get #struck(): readonly DiskFault[] {
    return this.disk.struck.slice(this.#struckBefore);
  }

  /** Starts the engine. One that a fault kept from it is started again, without faults. */
  async start(faults: readonly DiskFault[]): Promise<void> {
    for (const fault of faults) this.disk.plan(fault);
    for (let tries = 1; ; tries += 1) {
      this.#bytesAtStart = this.disk.usedBytes;
      this.disk.peakBytes = 0;
      const { life, opened } = await EngineLife.open(this.disk, this.clock, this.#setup, this.shardCount);
      this.#life = life;
      this.#figures.lives += 1;
      if (opened.how === "value") break;
      this.#figures.failedStarts += 1;
      const isExcused = opened.how === "over" || this.#struck.length > 0;
      if (!isExcused || tries > START_TRIES_MAX) {
        throw new ModelViolation(`cannot be opened: ${opened.how === "error" ? opened.error.stack : opened.how}`);
      }
      life.end("kill");
      this.noteEnd({ keepsLeases: false });
    }
    this.model.isDisturbed = this.readsFailed;
    // Shards of another number share the keys, and the room for entries, in another way.
    const hasLeftOut = this.life.takeLeftOut();
    if (hasLeftOut) this.model.evictAll();
    if (hasLeftOut || this.disk.struck.length > 0) this.#isIntact = false;
    const before = this.#accountsAtClose;
    this.#accountsAtClose = undefined;
    if (before !== undefined && this.#isIntact) {
      expectEqual(accountsOf(this.life.store), before, "accounts after an orderly restart");
    }
    // Nobody is owed room that is not there.
    if (this.#files.stagingFiles.length > 0) throw new ModelViolation(`staging: ${this.#files.stagingFiles.join()}`);
  }

  /** A shard's thread ends. */
  killShard(shardIndex: number): void {
    if (this.life.isOver) return;
    this.#shardsDied += 1;
    this.#figures.shardDeaths += 1;
    this.model.restart({ keepsLeases: false });
    this.life.shards.die(shardIndex);
  }

  /** Ends the process in an orderly way. */
  async close(): Promise<void> {
    const { life } = this;
    await life.idle();
    const { store } = life;
    const closed = await life.settle(store[Symbol.asyncDispose]());
    if (closed.how === "error") this.assertExplained(closed.error);
    await life.idle();
    if (!life.isOver && this.#struck.length === 0 && this.#shardsDied === 0 && this.disk.spaceBytes > 2 ** 40) {
      this.#figures.cleanCloses += 1;
      // A footer that a full disk refused stays on the ledger: the next start writes it.
      const wasFull = this.disk.writesWithoutRoom > this.#writesWithoutRoomBefore;
      const onDisk = wasFull ? this.#files.accountedBytes() : this.disk.usedBytes;
      const isKnown = !wasFull || !this.#files.hasDamage;
      if (isKnown) expectEqual(store.stats().bytesUsed, onDisk, "ledger against the disk after a close");
      expectEqual(life.openFiles.join(), "", "files left open");
      this.#accountsAtClose = accountsOf(store);
    }
    life.end("kill");
  }

  /** After the end of a process, expected or not: what nobody was told of is unknown. */
  noteEnd({ keepsLeases }: { keepsLeases: boolean }): void {
    const struck = this.#struck;
    this.#life?.abandon();
    this.#figures.faults += struck.length;
    this.#figures.failedSyncs += struck.filter(
      ({ kind, effect }) => kind.startsWith("sync") && effect !== "power cut" && effect !== "kill",
    ).length;
    this.model.restart({ keepsLeases: keepsLeases && struck.length === 0 && this.#shardsDied === 0 });
    this.#noteDroppedPages();
    const powerCuts = this.disk.powerCuts - this.#powerCutsBefore;
    if (powerCuts > 0) this.clock.reboot();
    if (powerCuts > 0 && this.#setup.durability === "relaxed") this.model.forgetUnsynced();
    this.#figures.powerCuts += powerCuts;
    this.#powerCutsBefore = this.disk.powerCuts;
    this.#writesWithoutRoomBefore = this.disk.writesWithoutRoom;
    this.#struckBefore = this.disk.struck.length;
    this.#shardsDied = 0;
  }

  /** What befalls the files while nobody runs. */
  disturb({ checkpoint, damageAt }: Pick<Restart, "checkpoint" | "damageAt">): void {
    if (!this.disk.names.hasDirectory(`${DIRECTORY}/segments`)) return;
    this.#files.disturbCheckpoints(checkpoint, this.#setup);
    if (damageAt === undefined) return;
    this.#figures.damagedBytes += 1;
    this.#isIntact = false;
    for (const record of this.#files.damage(damageAt, 1 << Math.floor(damageAt * 8))) {
      const name = nameOfRecord(record);
      if (name !== undefined) this.model.damage(name);
    }
  }

  /** Holds the engine against the model and the disk. Call it with no upload running. */
  async check(heldUploads: number): Promise<void> {
    const { life } = this;
    if (!life.isOver) await life.idle();
    if (life.isOver) return;
    this.#noteDroppedPages();
    this.#isQuiet = true;
    this.#checkPresence();
    this.#isQuiet = false;
    this.#checkRoom(heldUploads);
  }

  /** Its shard has given it up, and another one, which has its own keys to take out, is about to or has died. */
  #liesInForeignSegment(name: string): boolean {
    return this.#files.segments().some(({ recovered: { header, records } }) => {
      return header?.shardCount !== this.shardCount && records.some((record) => nameOfRecord(record) === name);
    });
  }

  /** At durability relaxed the pages that a failed sync has dropped held what was acknowledged without it. */
  #noteDroppedPages(): void {
    if (this.#setup.durability === "relaxed" && this.#struck.some(({ kind }) => kind === "syncData")) {
      this.model.forgetUnsynced();
    }
  }

  #checkPresence(): void {
    const { store } = this.life;
    for (const { name, key } of NAMED_KEYS) {
      const isThere = store.peek(key);
      if (isThere && this.model.isUnwritten(name)) throw new ModelViolation(`${name}: there, but never written`);
      if (!isThere) this.noteAbsent(name);
    }
  }

  #checkRoom(heldUploads: number): void {
    const { disk, life } = this;
    const limit = Math.max(this.#setup.maxBytes, this.#bytesAtStart);
    if (disk.peakBytes > limit) throw new ModelViolation(`disk: ${disk.peakBytes} bytes used of ${limit}`);
    const stats = life.store.stats();
    if (stats.totals.leasesBroken > 0) this.#figures.leasesBroken += 1;
    if (stats.totals.favouredRecords > 0) this.#figures.favoured += 1;
    if (heldUploads > 0 || this.#struck.some(({ kind }) => LITTERING.has(kind))) return;
    expectEqual(stats.stagingMemoryBytes, 0, "staging memory in use");
    expectEqual(stats.stagingFileBytes, 0, "staging files reserved");
    expectEqual(this.#files.stagingFiles.join(), "", "staging files left");
    if (stats.bytesUsed < disk.usedBytes) {
      throw new ModelViolation(`ledger: ${stats.bytesUsed} bytes counted, ${disk.usedBytes} on disk`);
    }
    if (this.#struck.length > 0 || this.#shardsDied > 0 || disk.spaceBytes !== Number.POSITIVE_INFINITY) return;
    // A record that was damaged under its footer is counted as long as that stands.
    if (this.#files.hasDamage) return;
    expectEqual(stats.bytesUsed, this.#files.accountedBytes(), "ledger against the files");
  }

  /** Retirement is about to remove a segment: what it held may be gone, unless it is leased. */
  #noteRemoval(path: string): void {
    const records = this.#files.recordsIn(path);
    if (records.length === 0) return;
    this.#figures.removedSegments += 1;
    const store = this.#life?.isOpen === true ? this.#life.store : undefined;
    // A segment that could not be read goes as it is, with entries and leases that point to it.
    const leasesHold = store !== undefined && !this.readsFailed && store.stats().totals.leasesBroken === 0;
    for (const record of records) {
      const name = nameOfRecord(record);
      if (name === undefined) continue;
      const target = NAMED_KEYS.find((named) => named.name === name)?.target;
      // Its entry points to another segment.
      if (target !== undefined && !this.readsFailed && store?.peek(namedKey(target).key) === true) {
        if (this.model.isLeased(name, this.nowSeconds)) this.#figures.leasesHeld += 1;
        continue;
      }
      this.model.evict(name, this.nowSeconds, leasesHold);
    }
  }
}

/** What is stored for whom, in the order of names. */
function accountsOf(store: StorageEngine): string {
  const lines = store.accounts().map(({ name, bytes }) => `${name ?? "(no name)"}: ${bytes}`);
  return lines.toSorted().join(", ");
}

function expectEqual(got: number | string, expected: number | string, what: string): void {
  if (got !== expected) throw new ModelViolation(`${what}: expected ${expected}, got ${got}`);
}
