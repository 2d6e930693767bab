import type { Clock } from "../../clock.ts";
import type { EngineLogger } from "../engine-options.ts";
import type { IndexReader } from "../index/index-reader.ts";
import type { ShardClient } from "../shard/shard-client.ts";
import { ownedBytes } from "./numbered-owner.ts";
import type { Owners } from "./owners.ts";

export interface QuotasOptions {
  readonly owners: Owners;
  readonly shards: readonly (Pick<ShardClient, "call"> & { readonly index: IndexReader })[];
  readonly clock: Clock;
  readonly logger: EngineLogger;
}

/** So much of a quota is freed beside what is wanted, so that not every upload has to wait for it. */
const FREED_BESIDE = 1 / 16;

/**
 * Where a look at the whole index has made no room, nobody looks again for so long: uploads that are refused come again in
 * ten seconds, and each would cost another look.
 */
const FRUITLESS_PAUSE_MS = 1000;

/**
 * Keeps each owner to its quota: what is too much goes out of the index, the oldest first, and its bytes when their
 * segments retire. Nobody else loses anything by it. It is the main thread's; uploads of all threads that find no room
 * ask here.
 *
 *     quota  ├───────────────────────────────────────────┤
 *     has    ├─ oldest ─┼──────────────────────────────┤├─ wanted ─┤
 *             ◄─ drop ─►                                    what is wanted, and a sixteenth of the quota
 */
export class Quotas {
  private readonly options: QuotasOptions;
  /** By owner. */
  private readonly trimming = new Map<number, Promise<boolean>>();
  /** Of owners that have nothing to drop: when to look again. */
  private readonly pausedUntilMs = new Map<number, number>();

  constructor(options: QuotasOptions) {
    this.options = options;
  }

  /** @returns whether there is room for so many bytes more; if not, what the owner has is leased, or the quota smaller. */
  async makeRoom(owner: number, bytes: number): Promise<boolean> {
    const quotaBytes = this.options.owners.quotaOf(owner);
    if (quotaBytes === undefined) return true;
    if (bytes > quotaBytes) return false;
    while (!this.hasRoom(owner, bytes, quotaBytes)) {
      const running = this.trimming.get(owner);
      if (running === undefined) {
        if (this.isPaused(owner)) return false;
        const wasTrimmed = await this.trim(owner, bytes, quotaBytes);
        if (this.hasRoom(owner, bytes, quotaBytes)) return true;
        if (wasTrimmed) this.pausedUntilMs.set(owner, this.options.clock.monotonicMs() + FRUITLESS_PAUSE_MS);
        return false;
      }
      // It may make room for those only who have asked before.
      await running;
    }
    return true;
  }

  /** Drops what uploads that were on their way at the same time have stored too much, and what a start has found. */
  async enforce(): Promise<void> {
    for (const owner of this.options.owners.overQuota()) await this.makeRoom(owner, 0);
  }

  private isPaused(owner: number): boolean {
    const untilMs = this.pausedUntilMs.get(owner);
    if (untilMs === undefined) return false;
    if (this.options.clock.monotonicMs() < untilMs) return true;
    this.pausedUntilMs.delete(owner);
    return false;
  }

  private hasRoom(owner: number, bytes: number, quotaBytes: number): boolean {
    return ownedBytes(this.options.shards, owner) + bytes <= quotaBytes;
  }

  /** @returns whether every shard was asked; what fails is told. */
  private trim(owner: number, bytes: number, quotaBytes: number): Promise<boolean> {
    const trimming = this.drop(owner, bytes, quotaBytes)
      .then(
        () => true,
        (error: unknown) => {
          this.options.logger.error({ err: error }, "an instance could not be kept to its quota");
          return false;
        },
      )
      .finally(() => this.trimming.delete(owner));
    this.trimming.set(owner, trimming);
    return trimming;
  }

  /** Of each shard as large a part as it has; where that is leased, what others have. */
  private async drop(owner: number, bytes: number, quotaBytes: number): Promise<void> {
    const { shards } = this.options;
    const hasBytes = ownedBytes(shards, owner);
    const surplusBytes = hasBytes + bytes + quotaBytes * FREED_BESIDE - quotaBytes;
    await Promise.all(
      shards.map(async (shard) => {
        const share = (surplusBytes * shard.index.ownedBytes(owner)) / hasBytes;
        if (share > 0) await shard.call("trim", { owner, bytes: Math.ceil(share) });
      }),
    );
    for (const shard of shards) {
      const missingBytes = ownedBytes(shards, owner) + bytes - quotaBytes;
      if (missingBytes > 0) await shard.call("trim", { owner, bytes: missingBytes });
    }
  }
}
