import { MessagePort } from "node:worker_threads";
import { Piscina } from "piscina";
import { CacheError } from "../../cache/cache-error.ts";
import { PutGatherer } from "./put-gatherer.ts";
import {
  isLongPut,
  type PutRequest,
  type ShardListenerMethods,
  type ShardMethodName,
  type ShardMethods,
  type ShardTask,
  type ShardWorkerData,
} from "./shard-protocol.ts";
import { workerEnvironment } from "../../worker-environment.ts";
import { SHARD_WORKER_URL } from "../../worker-urls.ts";

/** What reads and uploads ask of a shard, in whatever thread they run. */
export interface ShardAccess {
  /** @param onSent Called in the turn in which the request leaves this thread: from then on it may be carried out. */
  call<M extends keyof ShardListenerMethods>(
    method: M,
    request: ShardMethods[M]["request"],
    onSent?: () => void,
  ): Promise<ShardMethods[M]["response"]>;
}

/** How the rest of the engine talks to one shard, in whatever thread it runs. */
export interface ShardClient extends ShardAccess {
  call<M extends ShardMethodName>(
    method: M,
    request: ShardMethods[M]["request"],
    onSent?: () => void,
  ): Promise<ShardMethods[M]["response"]>;
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
export const CALLS_IN_FLIGHT_MAX = 16_384;

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
  private readonly gatherer = new PutGatherer((request, sent) => {
    // Its thread may have ended since they were gathered. A pool that is destroyed would start another one for them: a
    // second writer of the shard, with the index of before.
    this.assertOpen();
    sent();
    return this.pool.run({ method: "putMany", request } satisfies ShardTask);
  });
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
      env: workerEnvironment(),
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
    onSent?: () => void,
  ): Promise<ShardMethods[M]["response"]> {
    this.assertOpen();
    if (this.callsInFlight >= CALLS_IN_FLIGHT_MAX) {
      throw new CacheError("resource_exhausted", "too many uploads are waiting", { retryAfterMs: 1000 });
    }
    this.callsInFlight += 1;
    try {
      // A long one is answered much later than the small uploads that were ready with it.
      const isSmallPut = method === "put" && !isLongPut(request as PutRequest);
      if (!isSmallPut) onSent?.();
      return (await (isSmallPut
        ? this.gatherer.put(request as PutRequest, onSent)
        : this.pool.run({ method, request }, { transferList: movedWith(request) }))) as ShardMethods[M]["response"];
    } catch (error) {
      throw this.dead ? new ShardDiedError(error) : error;
    } finally {
      this.callsInFlight -= 1;
    }
  }

  async terminate(): Promise<void> {
    this.closing = true;
    await this.pool.destroy();
    await this.exited;
  }

  private assertOpen(): void {
    if (this.dead) throw new ShardDiedError(undefined);
    if (this.closing) throw new CacheError("unavailable", "the cache is shutting down");
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

/** A port is in one thread at a time. */
function movedWith(request: object): MessagePort[] {
  return "port" in request && request.port instanceof MessagePort ? [request.port] : [];
}
