import type { EngineFigures } from "../../src/observability/metrics.ts";
import type { Engine, LeftBehind } from "../../src/server.ts";
import { MemoryEntryStore } from "./memory-entry-store.ts";

/** The memory store with what the server wants of an engine beside entries. */
export class MemoryEngine extends MemoryEntryStore implements Engine {
  readOnlyReason: string | undefined;
  isClosed = false;

  readonly entryBytesMax = 1024 ** 3;

  async heartbeat(): Promise<void> {}

  /** No accounts are kept. */
  accounts(): [] {
    return [];
  }

  async ownerOf(): Promise<undefined> {
    return undefined;
  }

  stats(): EngineFigures & { stagedBytes: number } {
    return { stagedBytes: this.stagedBytes, shards: [{ syncs: 1 }, { syncs: 2 }] };
  }

  histograms(): ReturnType<Engine["histograms"]> {
    return { groupPuts: [{ bounds: [1], counts: [2, 0], sum: 2 }] };
  }

  attachListener(): never {
    throw new Error("what is in the memory of one thread cannot be served by another");
  }

  /** Nothing outlives memory. */
  readonly leftUploads: LeftBehind = {
    follow: (follower) => follower(0),
    committedBytes: () => 0,
    surrender: async () => undefined,
    forget: async () => undefined,
    dropKept: async () => undefined,
  };

  async listenerEnded(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.isClosed = true;
  }
}
