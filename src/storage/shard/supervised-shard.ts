import { allocateIndexBuffers } from "../index/index-layout.ts";
import { IndexReader } from "../index/index-reader.ts";
import type { EngineLogger } from "../engine-options.ts";
import type { DiskLedger } from "../disk-ledger.ts";
import type { ShardAssignment } from "./shard-assignment.ts";
import { type ShardClient, ShardDiedError, type StartShard } from "./shard-client.ts";
import type { SegmentSummary, ShardMethodName, ShardMethods, ShardWorkerData } from "./shard-protocol.ts";
import { ShardStats } from "./shard-stats.ts";

export interface SupervisedShardOptions {
  readonly data: Omit<ShardWorkerData, "index" | "stats">;
  readonly entryCountMax: number;
  readonly startShard: StartShard;
  readonly assignment: ShardAssignment;
  readonly ledger: DiskLedger;
  readonly logger: EngineLogger;
  /** Ids of all segment files on disk now. */
  readonly listSegmentIds: () => number[];
  /** Segments of another shard count that are still there. */
  readonly foreignSegments: () => readonly SegmentSummary[];
}

const DEATHS_MAX = 3;

/**
 * A shard whose thread is started again when it dies (HAZARDS H28): everybody who waited for it gets an error, the
 * slot is freed once the thread is gone, and a new one recovers the shard's segments into a new index. Until then
 * reads go on with the old index: it describes segments that are still there. After repeated deaths it stays down.
 */
export class SupervisedShard implements ShardClient {
  readonly stats = new ShardStats();
  /** Of the running worker; replaced once a new one has loaded. */
  index: IndexReader;
  private readonly options: SupervisedShardOptions;
  private client: ShardClient;
  private deaths = 0;
  private stopping = false;
  /** A start that failed left a worker whose index is not filled: nobody may use it. */
  private down = false;
  private restarting: Promise<void> | undefined;

  constructor(options: SupervisedShardOptions) {
    this.options = options;
    const { client, index } = this.start();
    this.client = client;
    this.index = index;
  }

  get callsInFlight(): number {
    return this.client.callsInFlight;
  }

  /** Why the shard takes no uploads now. */
  get fault(): string | undefined {
    const { shardIndex } = this.options.data;
    if (this.deaths > DEATHS_MAX) return `shard ${shardIndex}: its worker died ${this.deaths} times`;
    if (this.down) return `shard ${shardIndex}: its worker could not be started again`;
    if (this.restarting !== undefined) return `shard ${shardIndex}: its worker is being started again`;
    return this.stats.get("readOnly") === 0 ? undefined : `shard ${shardIndex}: syncs keep failing`;
  }

  async call<M extends ShardMethodName>(
    method: M,
    request: ShardMethods[M]["request"],
  ): Promise<ShardMethods[M]["response"]> {
    // Before the new worker has loaded it must not take anything: what is loaded after a put would lie over it.
    if (this.restarting !== undefined || this.down) throw new ShardDiedError(undefined);
    return this.client.call(method, request);
  }

  async terminate(): Promise<void> {
    this.stopping = true;
    await this.restarting;
    await this.client.terminate();
    this.options.assignment.release(this.options.data.shardIndex);
  }

  private start(): { client: ShardClient; index: IndexReader } {
    const { data, entryCountMax, startShard } = this.options;
    const index = allocateIndexBuffers(entryCountMax);
    const client = startShard({ ...data, index, stats: this.stats.buffer }, (error) => this.noteDeath(error));
    return { client, index: new IndexReader(index) };
  }

  private noteDeath(error: unknown): void {
    const { logger, data } = this.options;
    this.deaths += 1;
    logger.error({ err: error, shardIndex: data.shardIndex, deaths: this.deaths }, "shard worker died");
    if (this.stopping || this.deaths > DEATHS_MAX) return;
    const restarting = this.restart()
      .then(() => {
        this.down = false;
      })
      .catch((cause: unknown) => {
        this.down = true;
        logger.error({ err: cause, shardIndex: data.shardIndex }, "shard could not be restarted");
      })
      .finally(() => {
        // Where the new worker died too, the next restart is on its way.
        if (this.restarting === restarting) this.restarting = undefined;
      });
    this.restarting = restarting;
  }

  private async restart(): Promise<void> {
    const { data, assignment, ledger, listSegmentIds, foreignSegments, logger } = this.options;
    // The old thread must be gone before its slot is free: two writers of one shard must not be.
    await this.client.terminate();
    assignment.release(data.shardIndex);
    const lostBytes = this.stats.get("segmentBytes") + this.stats.get("checkpointBytes");
    const { client, index } = this.start();
    this.client = client;
    const { segments, warnings } = await client.call("recover", { segmentIds: listSegmentIds(), ownOnly: true });
    const foundBytes = segments.reduce((sum, { accountedBytes }) => sum + accountedBytes, 0);
    ledger.charge(foundBytes);
    ledger.release(lostBytes);
    // What is lost where this worker dies before it has loaded.
    this.stats.set("segmentBytes", foundBytes);
    this.stats.set("checkpointBytes", 0);
    const foreign = foreignSegments();
    const firstSequence = [...segments, ...foreign].reduce((max, { maxSequence }) => Math.max(max, maxSequence), 0) + 1;
    const loaded = await client.call("load", { own: segments, foreign, firstSequence });
    for (const warning of [...warnings, ...loaded.warnings]) logger.warn({ shardIndex: data.shardIndex }, warning);
    this.index = index;
    logger.info({ shardIndex: data.shardIndex, entries: loaded.entries }, "shard worker started again");
  }
}
