import type { EngineOptions } from "./engine-options.ts";
import type { Owners } from "./owners/owners.ts";
import type { Quotas } from "./owners/quotas.ts";
import type { QuarantinedRecord } from "./shard/shard-protocol.ts";
import type { SupervisedShard } from "./shard/supervised-shard.ts";

const SECOND_MS = 1000;
const LEASE_CHECK_MS = 60 * SECOND_MS;
const CHECKPOINT_INTERVAL_MS = 10 * 60 * SECOND_MS;
/** What a kill may cost: names of new instances. */
const OWNERS_SAVE_MS = 10 * SECOND_MS;
/** A checkpoint is worth writing when at least this many records came since the last one. */
const CHECKPOINT_RECORDS_MIN = 1000;

export interface HousekeepingOptions {
  readonly options: EngineOptions;
  readonly shards: readonly SupervisedShard[];
  readonly owners: Owners | undefined;
  readonly quotas: Quotas | undefined;
  readonly onCorrupt: (record: QuarantinedRecord) => void;
  /** Seconds that an entry written now is expected to live; undefined while there is nothing to go by. */
  readonly expectedLifetimeSeconds: () => number | undefined;
}

/** What an engine does by the clock: syncs at durability relaxed, saves the index and names, scrubs, watches the leases. */
export class Housekeeping implements Disposable {
  private readonly parts: HousekeepingOptions;
  private readonly timers: NodeJS.Timeout[] = [];
  private readonly busy = new Set<string>();
  private readonly checkpointedRecords = new Map<SupervisedShard, number>();

  constructor(parts: HousekeepingOptions) {
    this.parts = parts;
    const { durability, scrubBytesPerSecond = 0, checkpointIntervalMs = CHECKPOINT_INTERVAL_MS } = parts.options;
    if (durability === "relaxed") this.every(SECOND_MS, "sync", (shard) => shard.call("sync", {}));
    if (checkpointIntervalMs > 0) this.every(checkpointIntervalMs, "checkpoint", (shard) => this.checkpoint(shard));
    if (scrubBytesPerSecond > 0) {
      const budgetBytes = Math.ceil(scrubBytesPerSecond / parts.shards.length);
      this.every(SECOND_MS, "scrub", (shard) => this.scrub(shard, budgetBytes));
    }
    this.timers.push(setInterval(() => this.checkLeases(), LEASE_CHECK_MS).unref());
    const { owners, quotas } = parts;
    if (quotas !== undefined) this.timers.push(setInterval(() => void quotas.enforce(), SECOND_MS).unref());
    if (owners !== undefined) this.timers.push(setInterval(() => owners.save(), OWNERS_SAVE_MS).unref());
  }

  [Symbol.dispose](): void {
    for (const timer of this.timers) clearInterval(timer);
  }

  /** Runs a job on each shard now and then; a shard that is still at it is left out of the next turn. */
  private every(intervalMs: number, name: string, job: (shard: SupervisedShard) => Promise<unknown>): void {
    const turn = (): void => {
      for (const [shardIndex, shard] of this.parts.shards.entries()) {
        const slot = `${name} ${shardIndex}`;
        if (this.busy.has(slot) || shard.fault !== undefined) continue;
        this.busy.add(slot);
        job(shard)
          .catch((error: unknown) => this.parts.options.logger.error({ err: error, shardIndex }, `${name} failed`))
          .finally(() => this.busy.delete(slot));
      }
    };
    this.timers.push(setInterval(turn, intervalMs).unref());
  }

  private async checkpoint(shard: SupervisedShard): Promise<void> {
    const records = shard.stats.get("appendedRecords") + shard.stats.get("retiredRecords");
    if (records - (this.checkpointedRecords.get(shard) ?? 0) < CHECKPOINT_RECORDS_MIN) return;
    await shard.call("checkpoint", {});
    this.checkpointedRecords.set(shard, records);
  }

  private async scrub(shard: SupervisedShard, budgetBytes: number): Promise<void> {
    const { corrupt } = await shard.call("scrub", { budgetBytes });
    for (const record of corrupt) this.parts.onCorrupt(record);
  }

  /** Says so before builds break: blobs leave sooner than clients were told that they stay. */
  private checkLeases(): void {
    const { options, expectedLifetimeSeconds } = this.parts;
    const seconds = expectedLifetimeSeconds();
    const { minLeaseMs = 0 } = options;
    if (seconds === undefined || seconds * SECOND_MS >= minLeaseMs) return;
    options.logger.warn(
      { expectedLifetimeSeconds: Math.round(seconds), minLeaseSeconds: minLeaseMs / SECOND_MS },
      "the cache is too small for its lease: entries written now will be gone sooner; raise --max-size",
    );
  }
}
