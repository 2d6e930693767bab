import type { Clock } from "../../src/clock.ts";
import type { FileSystem } from "../../src/storage/file-system.ts";
import { openShard } from "../../src/storage/shard/open-shard.ts";
import { type ShardClient, ShardDiedError, type StartShard } from "../../src/storage/shard/shard-client.ts";
import type {
  ShardMethodName,
  ShardMethods,
  ShardTask,
  ShardWorkerData,
} from "../../src/storage/shard/shard-protocol.ts";
import type { ShardServer } from "../../src/storage/shard/shard-server.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { SeededScheduler } from "./seeded-scheduler.ts";

/** What one shard thread has of the file system; `kill` makes it useless to a thread that has ended. */
export interface ThreadFileSystem extends FileSystem {
  kill(): void;
}

export interface LocalShardsOptions {
  readonly scheduler: SeededScheduler;
  readonly clock: Clock;
  readonly random: SeededRandom;
  readonly startThread: () => ThreadFileSystem;
}

/**
 * Shards without threads: they run in turns that the scheduler gives, and messages to them are cloned as they are
 * between threads, so that only shared memory is shared. A shard can be made to die.
 */
export class LocalShards {
  readonly #options: LocalShardsOptions;
  readonly #clients = new Map<number, LocalShardClient>();
  #threadsStarted = 0;

  constructor(options: LocalShardsOptions) {
    this.#options = options;
  }

  readonly start: StartShard = (data, onDeath) => {
    this.#threadsStarted += 1;
    const client = new LocalShardClient(data, this.#threadsStarted, onDeath, this.#options);
    this.#clients.set(data.shardIndex, client);
    return client;
  };

  /** The client of the running shard: for what housekeeping asks of it by the clock. */
  client(shardIndex: number): ShardClient {
    return this.#running(shardIndex);
  }

  /** Ends a shard's thread as an uncaught error would. */
  die(shardIndex: number): void {
    this.#running(shardIndex).die(new Error(`shard ${shardIndex}: killed by the test`));
  }

  #running(shardIndex: number): LocalShardClient {
    const client = this.#clients.get(shardIndex);
    if (client === undefined) throw new RangeError(`no shard ${shardIndex} was started`);
    return client;
  }
}

type Waiter = { readonly resolve: (response: unknown) => void; readonly reject: (error: unknown) => void };

class LocalShardClient implements ShardClient {
  readonly #scheduler: SeededScheduler;
  readonly #thread: ThreadFileSystem;
  readonly #server: ShardServer;
  readonly #onDeath: (error: unknown) => void;
  readonly #waiters = new Set<Waiter>();
  readonly #inbox: { readonly task: ShardTask; readonly waiter: Waiter }[] = [];
  #isRunning = true;

  constructor(
    data: ShardWorkerData,
    threadId: number,
    onDeath: (error: unknown) => void,
    { scheduler, clock, random, startThread }: LocalShardsOptions,
  ) {
    this.#scheduler = scheduler;
    this.#onDeath = onDeath;
    this.#thread = startThread();
    this.#server = openShard(data, threadId, this.#thread, clock, {
      randomWord: () => random.int(0, 2 ** 32 - 1),
      scheduleRound: (round) => this.#schedule(round),
    });
  }

  get callsInFlight(): number {
    return this.#waiters.size;
  }

  async call<M extends ShardMethodName>(
    method: M,
    request: ShardMethods[M]["request"],
    onSent?: () => void,
  ): Promise<ShardMethods[M]["response"]> {
    if (!this.#isRunning) throw new ShardDiedError(undefined);
    onSent?.();
    const task = structuredClone({ method, request }) as ShardTask;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { resolve: (response) => resolve(response as ShardMethods[M]["response"]), reject };
      this.#waiters.add(waiter);
      this.#inbox.push({ task, waiter });
      // Messages of a port arrive in their order, whichever of these turns comes first.
      this.#schedule(() => this.#receive());
    });
  }

  async terminate(): Promise<void> {
    this.#stop(undefined);
  }

  die(cause: Error): void {
    if (!this.#isRunning) return;
    this.#stop(cause);
    this.#onDeath(cause);
  }

  #stop(cause: unknown): void {
    this.#isRunning = false;
    this.#thread.kill();
    for (const { reject } of this.#waiters) reject(new ShardDiedError(cause));
    this.#waiters.clear();
  }

  #receive(): void {
    const message = this.#inbox.shift();
    if (message === undefined) return;
    const { task, waiter } = message;
    this.#server.handle(task).then(
      (response) => this.#answer(waiter, () => waiter.resolve(structuredClone(response))),
      (error: unknown) => this.#answer(waiter, () => waiter.reject(error)),
    );
  }

  #answer(waiter: Waiter, settle: () => void): void {
    this.#schedule(() => {
      this.#waiters.delete(waiter);
      settle();
    });
  }

  #schedule(task: () => void): void {
    this.#scheduler.schedule(() => {
      if (this.#isRunning) task();
    });
  }
}
