import { Piscina } from "piscina";
import { CacheError } from "../../cache/cache-error.ts";
import { decodeOutcomes, encodePuts } from "./put-message.ts";
import type { PutOutcome, PutRequest, ShardMethodName, ShardMethods, ShardWorkerData } from "./shard-protocol.ts";
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
  /** Resolves when the shard's own thread is gone, not that which the pool may have started in its place. */
  private readonly exited: Promise<unknown>;
  private closing = false;
  private dead = false;
  private readonly gathered: { request: PutRequest; settle: PromiseWithResolvers<PutOutcome> }[] = [];
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
    const [thread] = this.pool.threads;
    if (thread === undefined) throw new Error(`shard ${this.shardIndex}: its pool has no thread`);
    this.exited = new Promise((resolve) => thread.once("exit", resolve));
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
      // An adopted file is answered much later than the small uploads that were ready with it.
      const isSmallPut = method === "put" && !(request as PutRequest).adopt;
      return (await (isSmallPut
        ? this.gather(request as PutRequest)
        : this.pool.run({ method, request }))) as ShardMethods[M]["response"];
    } catch (error) {
      throw this.dead ? new ShardDiedError(error) : error;
    } finally {
      this.callsInFlight -= 1;
    }
  }

  /** Crossing to the worker costs about 90 us a message: uploads that are ready in one turn of the event loop share it. */
  private gather(request: PutRequest): Promise<PutOutcome> {
    const settle = Promise.withResolvers<PutOutcome>();
    if (this.gathered.push({ request, settle }) === 1) setImmediate(() => void this.sendGathered());
    return settle.promise;
  }

  private async sendGathered(): Promise<void> {
    const puts = this.gathered.splice(0);
    try {
      const task = { method: "putMany", request: encodePuts(puts.map(({ request }) => request)) };
      const response = (await this.pool.run(task)) as ShardMethods["putMany"]["response"];
      for (const [i, outcome] of decodeOutcomes(response, puts.length).entries()) puts[i]?.settle.resolve(outcome);
    } catch (error) {
      for (const { settle } of puts) settle.reject(error);
    }
  }

  async terminate(): Promise<void> {
    this.closing = true;
    await this.pool.destroy();
    await this.exited;
  }

  private noteDeath(error: unknown, onDeath: (error: unknown) => void): void {
    if (this.closing) return;
    this.closing = true;
    this.dead = true;
    // Once it is gone, and not while the pool is still telling of it: a pool that is destroyed meanwhile waits for
    // an exit that was.
    void this.exited.then(() => onDeath(error));
  }
}
