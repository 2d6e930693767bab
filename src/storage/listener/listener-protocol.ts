import type { MessagePort } from "node:worker_threads";
import type { EngineSizes } from "../engine-options.ts";
import type { IndexBuffers } from "../index/index-layout.ts";
import type { OwnerEntry } from "../owners/owners.ts";
import type { QuarantinedRecord } from "../shard/shard-protocol.ts";
import type { SlabShare } from "../staging/staging-slab.ts";

/** What the store of a listener thread is given when it starts: shared memory, sizes, and a port to the engine. */
export interface ListenerStoreData {
  readonly listenerIndex: number;
  readonly directory: string;
  readonly sizes: EngineSizes;
  readonly bytesMax: number;
  readonly durability: "commit" | "relaxed";
  readonly ledger: SharedArrayBuffer;
  readonly fileBudget: SharedArrayBuffer;
  readonly slab: SharedArrayBuffer;
  readonly slabShare: SlabShare;
  /** By shard. */
  readonly stats: readonly SharedArrayBuffer[];
  /** See UseMarks; undefined where no accounts are kept. */
  readonly useMarks: SharedArrayBuffer | undefined;
  /** Descriptors for reading segments that this thread may keep open. */
  readonly openSegmentsMax: number;
  /** Moves to the thread. */
  readonly port: MessagePort;
}

/** What uploads may wait for: room on the disk, and the part of it that temp files may take. */
export type AdmissionName = "disk" | "files";

type Nothing = Record<never, never>;

/** What a listener's store asks of the engine on the main thread; rare beside reads and uploads. */
export interface EngineMethods {
  /** Reserves room for the listener once it comes free, in the order in which all threads have asked. */
  admit: { request: { admission: AdmissionName; bytes: number }; response: Nothing };
  /** Bytes were released that somebody waits for, or the disk is fuller than it should be. */
  diskUseChanged: { request: Nothing; response: Nothing };
  /** Who an instance is, see OwnerRegister. */
  ownerOf: { request: { instanceName: string; isNew: boolean }; response: { entry: OwnerEntry | undefined } };
  /** See Quotas; whether there is room now. */
  makeRoom: { request: { owner: number; bytes: number }; response: { isRoom: boolean } };
  noteQuarantine: { request: QuarantinedRecord; response: Nothing };
  /** Resolves once the store knows every shard: then it may be used. */
  follow: { request: Nothing; response: Nothing };
}

/** What the engine tells a listener's store. */
export interface ListenerStoreMethods {
  replaceIndex: { request: { shardIndex: number; index: IndexBuffers }; response: Nothing };
  connectShard: { request: { shardIndex: number; port: MessagePort }; response: Nothing };
  showFault: { request: { shardIndex: number; reason: string }; response: Nothing };
  /** The files are gone: descriptors that are open for them are closed once nobody reads. */
  segmentsRetired: { request: { segmentIds: readonly number[] }; response: Nothing };
}
