import type { DetachedBlob } from "../cache/blob-store.ts";
import type { UploadPeers } from "../grpc/resumable-uploads.ts";
import type { KeptUploads } from "./kept-uploads.ts";

/** The upload exchange as one listener reaches it: at hand on the main thread, by messages elsewhere. */
export interface ExchangeAccess {
  committedBytes(name: string): Promise<number>;
  take(name: string, moreThanBytes: number, signal: AbortSignal): Promise<DetachedBlob | undefined>;
  arrived(name: string): void;
  forget(name: string): void;
  dropKept(): Promise<void>;
}

export function exchangePeers(exchange: ExchangeAccess, kept: KeptUploads): UploadPeers {
  return {
    committedBytes: (name) => exchange.committedBytes(name),
    async take(name, moreThanBytes, attach, signal) {
      const detached = await exchange.take(name, moreThanBytes, signal);
      if (detached === undefined) return;
      try {
        await attach(detached);
      } finally {
        exchange.arrived(name);
      }
    },
    noteKept: (count) => kept.note(count),
    get othersKeep() {
      return kept.othersKeep;
    },
    forget: (name) => exchange.forget(name),
    dropKept: () => exchange.dropKept(),
  };
}
