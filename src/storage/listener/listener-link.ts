import { MessageChannel, type MessagePort } from "node:worker_threads";
import { CacheError } from "../../cache/cache-error.ts";
import { ThreadCalls } from "../../thread-calls.ts";
import { DiskLedger } from "../disk-ledger.ts";
import type { EngineParts } from "../storage-engine.ts";
import type { QuarantinedRecord } from "../shard/shard-protocol.ts";
import type { ShardFollower, SupervisedShard } from "../shard/supervised-shard.ts";
import type { AdmissionName, EngineMethods, ListenerStoreData, ListenerStoreMethods } from "./listener-protocol.ts";

type StoreCalls = ThreadCalls<ListenerStoreMethods, EngineMethods>;

/** The engine's side of one listener thread: serves its store while it lives, and cleans up after it. */
export class ListenerLink {
  /** For the thread; the port in it moves there. */
  readonly data: ListenerStoreData;
  private readonly parts: EngineParts;
  private readonly calls: StoreCalls;
  private readonly port: MessagePort;
  private readonly ledger: DiskLedger;
  private readonly fileBudget: DiskLedger;
  private readonly tellRetired = (segmentIds: readonly number[]): void => {
    this.calls.call("segmentsRetired", { segmentIds }).catch(() => undefined);
  };

  constructor(parts: EngineParts, listenerIndex: number, noteQuarantine: (record: QuarantinedRecord) => void) {
    const { options, sizes, shards, ledger, staging, owners, quotas, openSegmentsMax } = parts;
    const { port1, port2 } = new MessageChannel();
    this.parts = parts;
    this.port = port1;
    this.ledger = new DiskLedger(options.maxBytes, ledger.buffer, listenerIndex);
    this.fileBudget = new DiskLedger(sizes.stagingDiskBytes, staging.fileBudget.buffer, listenerIndex);
    this.data = {
      listenerIndex,
      directory: options.directory,
      sizes,
      bytesMax: options.maxBytes,
      durability: options.durability,
      ledger: ledger.buffer,
      fileBudget: staging.fileBudget.buffer,
      slab: staging.slab.buffer,
      slabShare: { index: listenerIndex, count: sizes.listenerCount },
      stats: shards.map((shard) => shard.stats.buffer),
      useMarks: owners?.marks.buffer,
      openSegmentsMax,
      port: port2,
    };
    this.calls = new ThreadCalls<ListenerStoreMethods, EngineMethods>(port1, {
      admit: ({ admission, bytes }, call) => this.admit(admission, bytes, call.signal),
      diskUseChanged: () => this.diskUseChanged(),
      ownerOf: ({ instanceName, isNew }) => ({ entry: owners?.find(instanceName, isNew) }),
      makeRoom: async ({ owner, bytes }) => ({ isRoom: (await quotas?.makeRoom(owner, bytes)) ?? true }),
      noteQuarantine(record) {
        noteQuarantine(record);
        return {};
      },
      follow: () => this.follow(),
    });
    parts.segmentFollowers.add(this.tellRetired);
  }

  /** The thread is gone: resolves once nothing is left of it, so that another may take its place. */
  async ended(): Promise<void> {
    const { parts, ledger, fileBudget } = this;
    const { listenerIndex } = this.data;
    this.calls.end(new CacheError("unavailable", "the listener thread has ended"));
    this.port.close();
    parts.segmentFollowers.delete(this.tellRetired);
    // Uploads that it had handed over are still stored; only then its blocks and its files are free.
    await Promise.all(parts.shards.map((shard) => shard.leave(listenerIndex)));
    ledger.releaseHeldBy(listenerIndex);
    fileBudget.releaseHeldBy(listenerIndex);
    // What clients may go on with stays, and takes its room anew.
    parts.leftUploads.takeInOf(listenerIndex);
    this.diskUseChanged();
  }

  private async admit(name: AdmissionName, bytes: number, signal: AbortSignal): Promise<Record<never, never>> {
    const { admission, fileAdmission } = this.parts.staging;
    await (name === "disk" ? admission : fileAdmission).admit(bytes, signal);
    (name === "disk" ? this.ledger : this.fileBudget).hold(bytes);
    return {};
  }

  private diskUseChanged(): Record<never, never> {
    const { fileAdmission, diskUseChanged } = this.parts.staging;
    fileAdmission.roomWasMade();
    diskUseChanged();
    return {};
  }

  private async follow(): Promise<Record<never, never>> {
    const { shards } = this.parts;
    await Promise.all(shards.map((shard, shardIndex) => this.followShard(shard, shardIndex)));
    return {};
  }

  private followShard(shard: SupervisedShard, shardIndex: number): Promise<void> {
    const follower: ShardFollower = {
      replaceIndex: async (index) => void (await this.calls.call("replaceIndex", { shardIndex, index })),
      connect: async (port) => void (await this.calls.call("connectShard", { shardIndex, port }, { transfer: [port] })),
      showFault: async (reason) => void (await this.calls.call("showFault", { shardIndex, reason })),
    };
    return shard.follow(this.data.listenerIndex, follower);
  }
}
