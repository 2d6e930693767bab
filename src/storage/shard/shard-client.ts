import { Piscina } from "piscina";
import { CacheError } from "../../cache/cache-error.ts";
import type { ShardMethodName, ShardMethods, ShardWorkerData } from "./shard-protocol.ts";
import { SHARD_WORKER_URL } from "../worker-urls.ts";

/** How the rest of the engine talks to one shard, in whatever thread it runs. */
export interface ShardClient {
  call<M extends ShardMethodName>(method: M, request: ShardMethods[M]["request"]): Promise<ShardMethods[M]["response"]>;
  /** Calls sent and not answered yet. */
  readonly callsInFlight: number;
  /** Ends the thread; the shard was closed before. */
  terminate(): Promise<void>;
}

/** Thrown to everybody who waits for a shard whose thread ends (HAZARDS H28). */
export class ShardDiedError extends CacheError {
  constructor(cause: unknown) {
    super("unavailable", "a storage worker ended unexpectedly", { retryAfterMs: 1000, cause });
    this.name = "ShardDiedError";
  }
}

/** Starts a shard somewhere; `onDeath` is called once if it ends by itself. */
export type StartShard = (data: ShardWorkerData, onDeath: (error: unknown) => void) => ShardClient;

export const startShardWorker: StartShard = (data, onDeath) => new PiscinaShardClient(data, onDeath);

/** Uploads that may wait in one shard: bounded by the staging budgets long before this. */
const CALLS_IN_FLIGHT_MAX = 16_384;

/**
 * A shard in a Piscina pool of one thread. Piscina gives a task to any idle thread, so the pool of one is what
 * gives ownership; the pool itself gives queueing and orderly close.
 */
class PiscinaShardClient implements ShardClient {
  private readonly pool: Piscina;
  private readonly shardIndex: number;
  private closing = false;
  private dead = false;
  callsInFlight = 0;

  /** @param onDeath Called once when the thread ends by itself. */
  constructor(data: ShardWorkerData, onDeath: (error: unknown) => void) {
    this.shardIndex = data.shardIndex;
    this.pool = new Piscina({
      filename: SHARD_WORKER_URL.href,
      workerData: data,
      minThreads: 1,
      maxThreads: 1,
      // Uploads queue in the worker, not in the pool: a round takes everything that has arrived.
      concurrentTasksPerWorker: CALLS_IN_FLIGHT_MAX,
      idleTimeout: Number.POSITIVE_INFINITY,
      recordTiming: false,
      env: {},
    });
    this.pool.on("error", (error) => this.noteDeath(error, onDeath));
    this.pool.on("workerDestroy", () =>
      this.noteDeath(new Error(`shard ${this.shardIndex}: its thread ended`), onDeath),
    );
  }

  async call<M extends ShardMethodName>(
    method: M,
    request: ShardMethods[M]["request"],
  ): Promise<ShardMethods[M]["response"]> {
    if (this.dead) throw new ShardDiedError(undefined);
    if (this.closing) throw new CacheError("unavailable", "the cache is shutting down");
    if (this.callsInFlight >= CALLS_IN_FLIGHT_MAX) {
      throw new CacheError("resource_exhausted", "too many uploads are waiting", { retryAfterMs: 1000 });
    }
    this.callsInFlight += 1;
    try {
      return (await this.pool.run({ method, request })) as ShardMethods[M]["response"];
    } catch (error) {
      throw this.dead ? new ShardDiedError(error) : error;
    } finally {
      this.callsInFlight -= 1;
    }
  }

  async terminate(): Promise<void> {
    this.closing = true;
    await this.pool.destroy();
  }

  private noteDeath(error: unknown, onDeath: (error: unknown) => void): void {
    if (this.closing) return;
    this.closing = true;
    this.dead = true;
    onDeath(error);
  }
}
