import type { EngineCommand, EngineSetup, Interruption, Restart, Upload } from "./engine-commands.ts";
import { EngineHost } from "./engine-host.ts";
import { ModelViolation } from "./engine-model.ts";
import { EngineReads } from "./engine-reads.ts";
import { EngineUploads } from "./engine-uploads.ts";
import type { RunFigures } from "./run-figures.ts";

const LONGER_THAN_ANY_LEASE_SECONDS = 10_000;
/** At the end of a run: an upload that was refused starts the retirement that makes room for the next one. */
const LAST_UPLOAD_TRIES = 8;
const SCRUB_BYTES = 256 * 1024;

/** Runs commands against an engine over a simulated disk and holds it against the model after each of them. */
export class EngineRun {
  readonly #host: EngineHost;
  readonly #uploads: EngineUploads;
  readonly #reads: EngineReads;
  readonly #figures: RunFigures;

  constructor(setup: EngineSetup, seed: number, figures: RunFigures) {
    this.#figures = figures;
    this.#host = new EngineHost(setup, seed, figures);
    this.#uploads = new EngineUploads(this.#host.model, this.#host, figures);
    this.#reads = new EngineReads(this.#host, setup.minLeaseSeconds, figures);
  }

  /** @throws {ModelViolation} */
  async run(commands: readonly EngineCommand[]): Promise<void> {
    try {
      await this.#host.start([]);
      for (const command of commands) {
        this.#figures.commands += 1;
        await this.#apply(command);
        if (this.#host.life.isOver) await this.#startAgain({ checkpoint: "keep", damageAt: undefined, faults: [] });
        await this.#host.check(this.#uploads.heldCount);
      }
      await this.#finish();
    } finally {
      this.#host.life.abandon();
    }
  }

  async #apply(command: EngineCommand): Promise<void> {
    const { life, disk, clock } = this.#host;
    switch (command.kind) {
      case "upload":
        return this.#upload(command.uploads, command.interruption);
      case "fill":
        return this.#upload(fillers(command.from, command.count), undefined);
      case "hold":
        return this.#settle(this.#uploads.hold(life, command.upload));
      case "finish held":
        return this.#settle(this.#uploads.finishHeld(life));
      case "read":
        return this.#settle(this.#reads.read(life, command.target, command.range));
      case "find":
        for (const target of command.targets) this.#reads.find(life, target, command.renew);
        return;
      case "advance":
        return clock.advance(command.seconds, command.wallJumpSeconds);
      case "housekeeping":
        return this.#keepHouse(command.job);
      case "fault":
        return disk.plan(command.fault);
      case "space":
        disk.spaceBytes =
          command.leftBytes === undefined ? Number.POSITIVE_INFINITY : disk.usedBytes + command.leftBytes;
        return;
      case "shard death":
        return this.#host.killShard(command.shard % this.#host.shardCount);
      case "restart":
        return this.#restart(command);
    }
  }

  /** Waits for something that deals with its own errors; the process may end meanwhile. */
  async #settle(work: Promise<unknown>): Promise<void> {
    const settled = await this.#host.life.settle(work);
    if (settled.how === "error") throw settled.error;
  }

  async #upload(uploads: readonly Upload[], interruption: Interruption | undefined): Promise<void> {
    const { life } = this.#host;
    const all = Promise.all(uploads.map((upload) => this.#uploads.run(life, upload)));
    all.catch(() => undefined);
    if (interruption !== undefined) {
      const { kind, afterSteps } = interruption;
      await life.steps(afterSteps);
      if (kind === "shard death") this.#host.killShard(afterSteps % this.#host.shardCount);
      else life.end(kind);
    }
    await this.#settle(all);
  }

  async #keepHouse(job: "checkpoint" | "sync" | "scrub"): Promise<void> {
    const { life, shardCount } = this.#host;
    for (let shard = 0; shard < shardCount && !life.isOver; shard += 1) {
      const settled = await life.settle(life.shards.client(shard).call(job, { budgetBytes: SCRUB_BYTES }));
      if (settled.how === "error") this.#host.assertExplained(settled.error);
    }
  }

  async #restart(restart: Restart): Promise<void> {
    const host = this.#host;
    if (restart.how === "clean") {
      await this.#settle(this.#uploads.discardHeld());
      if (!host.life.isOver) await host.close();
    } else {
      host.life.end(restart.how);
    }
    await this.#startAgain(restart);
  }

  /** The process has ended, as planned or by a fault. Whatever befalls a disk between two lives does, then the next. */
  async #startAgain(how: Partial<Restart> & Pick<Restart, "checkpoint" | "damageAt" | "faults">): Promise<void> {
    const host = this.#host;
    const keepsLeases = how.how === "clean" && how.checkpoint === "keep" && how.shardCount === undefined;
    host.noteEnd({ keepsLeases });
    this.#uploads.forgetHeld();
    host.disturb(how);
    host.shardCount = how.shardCount ?? host.shardCount;
    await host.start(how.faults);
    if (!host.life.isOver) await this.#settle(this.#reads.readEverything(host.life));
  }

  /** Whatever has happened: after a power cut all is there, and once faults and leases are over uploads pass. */
  async #finish(): Promise<void> {
    const host = this.#host;
    host.disk.clearFaults();
    host.disk.spaceBytes = Number.POSITIVE_INFINITY;
    host.life.end("power cut");
    await this.#startAgain({ checkpoint: "keep", damageAt: undefined, faults: [] });
    await host.check(0);
    host.clock.advance(LONGER_THAN_ANY_LEASE_SECONDS);
    await this.#uploadAtLast();
    await host.check(0);
    await host.close();
    await this.#startAgain({ checkpoint: "keep", damageAt: undefined, faults: [] });
    await host.check(0);
  }

  async #uploadAtLast(): Promise<void> {
    for (let tries = 0; tries < LAST_UPLOAD_TRIES; tries += 1) {
      const before = this.#figures.acknowledged;
      await this.#upload([{ kind: "action", action: 0, pieces: 1 }], undefined);
      if (this.#figures.acknowledged > before) return;
    }
    throw new ModelViolation("uploads are refused although nothing is wrong any more");
  }
}

function fillers(from: number, count: number): Upload[] {
  return Array.from({ length: count }, (_, i) => ({
    kind: "blob",
    blob: from + i,
    pieces: 0,
    encoding: "identity",
    flaw: "none",
  }));
}
