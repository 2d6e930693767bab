import { MessageChannel, type MessagePort } from "node:worker_threads";
import { allocateIndexBuffers, type IndexBuffers } from "../index/index-layout.ts";
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

/** A listener thread as a shard sees it: told of the worker that runs now. What fails is told to nobody: it has ended. */
export interface ShardFollower {
  /** Resolves once the listener looks entries up in this index. */
  replaceIndex(index: IndexBuffers): Promise<void>;
  /** The listener hands its uploads to this port from now on. */
  connect(port: MessagePort): Promise<void>;
  /** Nothing is taken until the next `connect`. */
  showFault(reason: string): Promise<void>;
}

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
  private readonly followers = new Map<number, ShardFollower>();
  /** By listener: settled once the worker has done everything that it had asked, or is gone. */
  private readonly serving = new Map<number, Promise<void>>();
  private indexBuffers: IndexBuffers;
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
    this.indexBuffers = index;
    this.index = new IndexReader(index);
  }

  get callsInFlight(): number {
    return this.client.callsInFlight - this.serving.size;
  }

  get deathCount(): number {
    return this.deaths;
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
    onSent?: () => void,
  ): Promise<ShardMethods[M]["response"]> {
    // Before the new worker has loaded it must not take anything: what is loaded after a put would lie over it.
    if (this.restarting !== undefined || this.down) throw new ShardDiedError(undefined);
    return this.client.call(method, request, onSent);
  }

  /** Brings a listener thread up to date, and keeps it so until it is left. */
  async follow(listenerIndex: number, follower: ShardFollower): Promise<void> {
    while (this.restarting !== undefined) await this.restarting;
    // From here on it is told of every new worker too, by whoever is the later.
    this.followers.set(listenerIndex, follower);
    await follower.replaceIndex(this.indexBuffers);
    if (this.fault === undefined) await this.connect(follower, listenerIndex);
    else await follower.showFault(this.fault);
  }

  /** Resolves once nothing is left of what the listener thread, which has ended, had asked. */
  async leave(listenerIndex: number): Promise<void> {
    this.followers.delete(listenerIndex);
    await this.serving.get(listenerIndex);
  }

  async terminate(): Promise<void> {
    this.stopping = true;
    await this.restarting;
    await this.client.terminate();
    this.options.assignment.release(this.options.data.shardIndex);
  }

  private start(): { client: ShardClient; index: IndexBuffers } {
    const { data, entryCountMax, startShard } = this.options;
    const index = allocateIndexBuffers(entryCountMax);
    const client = startShard({ ...data, index, stats: this.stats.buffer }, (error) => this.noteDeath(error));
    return { client, index };
  }

  private async connect(follower: ShardFollower, listenerIndex: number): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    const serving = this.client
      .call("serveListener", { port: port1 })
      // The worker is gone, and the listener sees the port close.
      .catch(() => port1.close())
      .then(() => {
        if (this.serving.get(listenerIndex) === serving) this.serving.delete(listenerIndex);
      });
    this.serving.set(listenerIndex, serving);
    // A listener that is gone has no use for it, and the worker sees the port close.
    await follower.connect(port2).catch(() => port2.close());
  }

  private async tellFollowers(tell: (follower: ShardFollower, listenerIndex: number) => Promise<void>): Promise<void> {
    await Promise.all([...this.followers].map(([index, follower]) => tell(follower, index).catch(() => undefined)));
  }

  private noteDeath(error: unknown): void {
    const { logger, data } = this.options;
    this.deaths += 1;
    logger.error({ err: error, shardIndex: data.shardIndex, deaths: this.deaths }, "shard worker died");
    if (this.stopping || this.deaths > DEATHS_MAX) return this.tellFault();
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
        this.tellFault();
      });
    this.restarting = restarting;
    this.tellFault();
  }

  private tellFault(): void {
    const { fault } = this;
    if (fault !== undefined) void this.tellFollowers((follower) => follower.showFault(fault));
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
    this.indexBuffers = index;
    this.index = new IndexReader(index);
    // Every listener looks into the new index before any of them may put: what one has acknowledged, all must find (I2).
    await this.tellFollowers((follower) => follower.replaceIndex(index));
    await this.tellFollowers((follower, listenerIndex) => this.connect(follower, listenerIndex));
    logger.info({ shardIndex: data.shardIndex, entries: loaded.entries }, "shard worker started again");
  }
}
