import type { MessagePort } from "node:worker_threads";
import { CacheError } from "../../cache/cache-error.ts";
import { ThreadCalls } from "../../thread-calls.ts";
import type { IndexBuffers } from "../index/index-layout.ts";
import { IndexReader } from "../index/index-reader.ts";
import { PutGatherer } from "./put-gatherer.ts";
import { CALLS_IN_FLIGHT_MAX, type ShardAccess, ShardDiedError } from "./shard-client.ts";
import { isLongPut, type PutRequest, type ShardListenerMethods, type ShardMethods } from "./shard-protocol.ts";
import type { ShardStats } from "./shard-stats.ts";

/**
 * A shard as a listener thread sees it: the index in shared memory, and a port to the worker. The main thread tells of
 * each new worker, in this order: fault (the old one is gone), the new index, the new port.
 */
export class FollowedShard implements ShardAccess {
  readonly stats: ShardStats;
  private readonly shardIndex: number;
  /** Uploads and others that are not answered yet. */
  callsInFlight = 0;
  private reader: IndexReader | undefined;
  private port: MessagePort | undefined;
  private calls: ThreadCalls<ShardListenerMethods, Record<never, never>> | undefined;
  private toldFault: string | undefined;
  private readonly gatherer = new PutGatherer((message, sent) => {
    const calls = this.connected();
    sent();
    return calls.call("putMany", message);
  });

  constructor(shardIndex: number, stats: ShardStats) {
    this.shardIndex = shardIndex;
    this.stats = stats;
  }

  get index(): IndexReader {
    if (this.reader === undefined) throw new Error(`shard ${this.shardIndex}: its index is not known yet`);
    return this.reader;
  }

  /** Why the shard takes no uploads now. */
  get fault(): string | undefined {
    if (this.toldFault !== undefined) return this.toldFault;
    return this.stats.get("readOnly") === 0 ? undefined : `shard ${this.shardIndex}: syncs keep failing`;
  }

  async call<M extends keyof ShardListenerMethods>(
    method: M,
    request: ShardMethods[M]["request"],
    onSent?: () => void,
  ): Promise<ShardMethods[M]["response"]> {
    if (this.callsInFlight >= CALLS_IN_FLIGHT_MAX) {
      throw new CacheError("resource_exhausted", "too many uploads are waiting", { retryAfterMs: 1000 });
    }
    this.callsInFlight += 1;
    try {
      const isSmallPut = method === "put" && !isLongPut(request as PutRequest);
      return (await (isSmallPut
        ? this.gatherer.put(request as PutRequest, onSent)
        : this.send(method, request, onSent))) as ShardMethods[M]["response"];
    } finally {
      this.callsInFlight -= 1;
    }
  }

  private send<M extends keyof ShardListenerMethods>(
    method: M,
    request: ShardMethods[M]["request"],
    onSent?: () => void,
  ): Promise<ShardMethods[M]["response"]> {
    const calls = this.connected();
    onSent?.();
    return calls.call(method, request);
  }

  replaceIndex(index: IndexBuffers): void {
    this.reader = new IndexReader(index);
  }

  connect(port: MessagePort): void {
    const calls = new ThreadCalls<ShardListenerMethods, Record<never, never>>(port, {});
    port.on("close", () => this.disconnect(calls));
    this.port = port;
    this.calls = calls;
    this.toldFault = undefined;
  }

  showFault(reason: string): void {
    this.toldFault = reason;
  }

  close(): void {
    this.port?.close();
  }

  private connected(): ThreadCalls<ShardListenerMethods, Record<never, never>> {
    if (this.calls === undefined) throw new ShardDiedError(undefined);
    return this.calls;
  }

  /** The worker is gone: what it has not answered it never will. */
  private disconnect(calls: ThreadCalls<ShardListenerMethods, Record<never, never>>): void {
    calls.end(new ShardDiedError(undefined));
    if (this.calls === calls) this.calls = undefined;
  }
}
