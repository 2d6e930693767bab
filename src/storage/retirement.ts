import type { DiskLedger } from "./disk-ledger.ts";
import type { ShardClient } from "./shard/shard-client.ts";
import type { SegmentSummary } from "./shard/shard-protocol.ts";
import type { ShardStats } from "./shard/shard-stats.ts";

/** Retirement starts for entries when a shard's part of the index is this full. */
export const ENTRIES_FULL_SHARE = 0.97;

export interface RetirementShard {
  readonly client: ShardClient;
  readonly stats: ShardStats;
  /** How often its worker has died. */
  readonly deathCount: () => number;
  /** Whether its part of the index is nearly full. */
  readonly needsEntries: () => boolean;
}

export interface RetirementOptions {
  readonly ledger: DiskLedger;
  readonly shards: readonly RetirementShard[];
  /** Retirement goes on until no more than this is used; less while a large upload waits for room. */
  readonly bytesTarget: () => number;
  /** Segments of another shard count, oldest first: every shard takes its keys out, then `removeForeign` unlinks. */
  readonly foreign: SegmentSummary[];
  /** Whose records are kept, see owners/fair-share.ts. */
  readonly favouredOwners: () => readonly number[];
  readonly removeForeign: (segment: SegmentSummary) => void;
  readonly onRetired: (segmentIds: readonly number[]) => void;
  readonly onError: (error: unknown) => void;
}

/** Makes room by retiring the oldest segment of all shards, one at a time, until enough is free. */
export class Retirement {
  private readonly options: RetirementOptions;
  private running: Promise<void> | undefined;
  private stopped = false;

  constructor(options: RetirementOptions) {
    this.options = options;
  }

  /** Starts making room if that is needed and not going on already. */
  check(): void {
    if (this.running !== undefined || this.stopped || !this.isNeeded()) return;
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  private isNeeded(): boolean {
    const { ledger, bytesTarget, shards } = this.options;
    return ledger.bytesUsed > bytesTarget() || shards.some((shard) => shard.needsEntries());
  }

  private async run(): Promise<void> {
    const { shards, favouredOwners, onError } = this.options;
    let stepsWithoutGain = 0;
    // One step may take a little that another one gives back: only what there was never before is a gain.
    let freedBytes = 0;
    let freedBytesMost = 0;
    let isFair = true;
    try {
      while (!this.stopped && this.isNeeded()) {
        const favoured = isFair ? favouredOwners() : [];
        freedBytes += await this.step(favoured);
        const hasGained = freedBytes > freedBytesMost;
        stepsWithoutGain = hasGained ? 0 : stepsWithoutGain + 1;
        if (hasGained) {
          freedBytesMost = freedBytes;
          isFair = true;
        }
        const segmentCount = shards.reduce((sum, { stats }) => sum + stats.get("segments"), 0);
        if (stepsWithoutGain <= segmentCount + shards.length) continue;
        // Everything that is left is leased or being written: waiting uploads time out, new ones are refused.
        if (favoured.length === 0) return;
        // Or it is favoured, and what the others have is being written.
        isFair = false;
        stepsWithoutGain = 0;
      }
    } catch (error) {
      onError(error);
    } finally {
      // In the same turn as the last look at what is needed: a check in between would be lost.
      this.running = undefined;
    }
  }

  /** @returns bytes freed. */
  private async step(favouredOwners: readonly number[]): Promise<number> {
    const { onRetired } = this.options;
    const shard = this.oldestShard();
    const foreign = this.options.foreign[0];
    const oldestOwn = shard?.stats.get("oldestSegmentId") ?? 0;
    if (foreign !== undefined && (oldestOwn === 0 || foreign.segmentId < oldestOwn)) {
      return this.retireForeign(foreign, favouredOwners);
    }
    if (shard === undefined) return 0;
    const result = await shard.client.call("retire", { favouredOwners });
    onRetired(result.retiredSegmentIds);
    return result.freedBytes;
  }

  private oldestShard(): RetirementShard | undefined {
    const { shards } = this.options;
    const starved = shards.find((shard) => shard.needsEntries());
    if (starved !== undefined) return starved;
    let oldest: RetirementShard | undefined;
    for (const shard of shards) {
      const id = shard.stats.get("oldestSegmentId");
      if (id !== 0 && (oldest === undefined || id < oldest.stats.get("oldestSegmentId"))) oldest = shard;
    }
    return oldest;
  }

  private async retireForeign(segment: SegmentSummary, favouredOwners: readonly number[]): Promise<number> {
    const { ledger, shards, foreign, removeForeign, onRetired } = this.options;
    const { segmentId } = segment;
    const before = ledger.bytesUsed;
    const deaths = (): number => shards.reduce((sum, { deathCount }) => sum + deathCount(), 0);
    let deathsBefore: number;
    do {
      deathsBefore = deaths();
      await Promise.all(
        shards.map(({ client }) => client.call("retire", { foreignSegmentId: segmentId, favouredOwners })),
      );
      // A shard that had taken its keys out, and was started again while others were at it, has read them anew.
    } while (deaths() !== deathsBefore);
    foreign.shift();
    removeForeign(segment);
    onRetired([segmentId]);
    return Math.max(0, before - ledger.bytesUsed);
  }
}
