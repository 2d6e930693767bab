import type { MessagePort } from "node:worker_threads";
import type { CacheErrorCode } from "../../cache/cache-error.ts";
import { type AtRest, ENCODINGS } from "../../cache/encoding.ts";
import type { IndexBuffers } from "../index/index-layout.ts";
import type { OutcomeMessage, PutMessage } from "./put-message.ts";

/** Where a worker finds the bytes of an upload. They belong to the worker from the call until its answer (I5). */
export type StagedSource =
  /** The value begins `start` bytes into its first block; uploads that are handed over together share blocks. */
  | { readonly kind: "slab"; readonly blocks: readonly number[]; readonly start: number }
  /** A closed temp file; the payload starts at ADOPTED_PAYLOAD_OFFSET. */
  | { readonly kind: "file"; readonly path: string };

export interface PutRequest {
  readonly space: number;
  /** 32 bytes, no view of more: a message to a thread carries the whole of what a view looks at. */
  readonly key: Uint8Array;
  /** Whether the key was made of a hash of the bytes and the worker must check that. */
  readonly contentAddressed: boolean;
  /** What the hash has to be where it is not the key itself. */
  readonly contentKey?: Uint8Array;
  /** Of the staged bytes: a number of ENCODINGS. */
  readonly encoding: number;
  /** Of the value, which is what the staged bytes decode to. */
  readonly sizeBytes: number;
  readonly stagedBytes: number;
  /** Whose account it goes on; 0: nobody's. */
  readonly owner: number;
  readonly source: StagedSource;
  /** The file becomes a segment of its own by rename instead of being copied. */
  readonly adopt: boolean;
}

/** Encoded values that decode to more are decoded between the groups of other uploads instead of in one. */
const GROUPED_DECODED_BYTES_MAX = 8 * 1024 * 1024;

/** Whether it takes so long that the uploads which are ready with it should not wait for it. */
export function isLongPut({
  adopt,
  encoding,
  sizeBytes,
}: Pick<PutRequest, "adopt" | "encoding" | "sizeBytes">): boolean {
  return adopt || (encoding !== ENCODINGS.identity && sizeBytes > GROUPED_DECODED_BYTES_MAX);
}

export type PutOutcome =
  | { readonly status: "stored" | "present" }
  | { readonly status: "failed"; readonly code: CacheErrorCode; readonly message: string };

/** A segment file as the recovery pass found it. */
export interface SegmentSummary {
  readonly segmentId: number;
  /** -1 where the header was damaged. */
  readonly shardIndex: number;
  readonly shardCount: number;
  readonly nonce: number;
  /** Wall clock; 0 where the header was damaged. */
  readonly createdAtMs: number;
  readonly recordCount: number;
  /** Where the last record ends. */
  readonly endOffset: number;
  readonly maxSequence: number;
  /** What the disk ledger counts for the file. */
  readonly accountedBytes: number;
}

export interface RecoverRequest {
  readonly segmentIds: readonly number[];
  /** Leaves alone what another shard owns and may be writing at this moment: for a shard that is started again. */
  readonly ownOnly: boolean;
}

export interface RecoverResult {
  readonly segments: SegmentSummary[];
  /** Messages for the log: files skipped, tails cut, corruption found. */
  readonly warnings: string[];
}

export interface LoadRequest {
  /** Segments of this shard. */
  readonly own: readonly SegmentSummary[];
  /** Segments whose records this shard must look through although it does not own them. */
  readonly foreign: readonly SegmentSummary[];
  /** Above every sequence number on disk. */
  readonly firstSequence: number;
}

export interface LoadResult {
  readonly entries: number;
  /** How many of them came from the checkpoint. */
  readonly fromCheckpoint: number;
  readonly warnings: string[];
}

/** A record that failed its checksum. */
export interface QuarantinedRecord {
  readonly space: number;
  readonly key: Uint8Array;
  readonly segmentId: number;
  readonly offset: number;
}

export interface ScrubResult {
  readonly corrupt: readonly QuarantinedRecord[];
}

export interface RetireResult {
  readonly retiredSegmentIds: number[];
  readonly freedBytes: number;
}

/** What a shard worker can be asked: one row per method, shared by both sides. */
export interface ShardMethods {
  /** Makes the segment files assigned to this worker whole: torn tails cut, foreign ones sealed. */
  recover: { request: RecoverRequest; response: RecoverResult };
  /** Fills the index. */
  load: { request: LoadRequest; response: LoadResult };
  put: { request: PutRequest; response: PutOutcome };
  /** Uploads that were ready at the same moment: one message for all of them, outcomes in their order. */
  putMany: { request: PutMessage; response: OutcomeMessage };
  /**
   * Retires this shard's oldest segment, or a foreign one as far as this shard's keys go. What belongs to a favoured
   * owner is kept, see ../owners/fair-share.ts.
   */
  retire: { request: { foreignSegmentId?: number; favouredOwners?: readonly number[] }; response: RetireResult };
  /** Drops of what an owner has the oldest, so many bytes of it or more, as far as it holds no lease. */
  trim: { request: { owner: number; bytes: number }; response: { droppedBytes: number } };
  /** Takes a record that failed its checksum out of the index. */
  quarantine: { request: QuarantinedRecord; response: { removed: boolean } };
  /** Checks about so many bytes of records against their checksums, going on where the last call stopped. */
  scrub: { request: { budgetBytes: number }; response: ScrubResult };
  /**
   * Takes calls of a listener thread too, by a port of its own. Answered once that thread has ended and everything that
   * it had asked is done.
   */
  serveListener: { request: { port: MessagePort }; response: Record<never, never> };
  /** Answered in its turn: the worker is alive. */
  heartbeat: { request: Record<never, never>; response: Record<never, never> };
  sync: { request: Record<never, never>; response: Record<never, never> };
  /** Saves this shard's part of the index, so that the next start need not read every footer. */
  checkpoint: { request: Record<never, never>; response: { bytes: number } };
  /** Seals, syncs, saves a checkpoint; no call follows. */
  close: { request: Record<never, never>; response: Record<never, never> };
}

/** What a listener thread asks of a shard without crossing the main thread. */
export type ShardListenerMethods = Pick<ShardMethods, "put" | "putMany" | "quarantine">;

export type ShardMethodName = keyof ShardMethods;
export type ShardTask = { [M in ShardMethodName]: { method: M; request: ShardMethods[M]["request"] } }[ShardMethodName];

/** What a shard worker is given when it starts. */
export interface ShardWorkerData {
  readonly shardIndex: number;
  readonly shardCount: number;
  readonly directory: string;
  readonly durability: "commit" | "relaxed";
  readonly atRest: AtRest;
  readonly keepFreeBytes: number;
  readonly segmentBytesMax: number;
  readonly minLeaseMs: number;
  readonly bytesMax: number;
  readonly slabBlockBytes: number;
  readonly index: IndexBuffers;
  readonly ledger: SharedArrayBuffer;
  readonly slab: SharedArrayBuffer;
  readonly stats: SharedArrayBuffer;
  /** Int32: one word per shard slot, then the next segment id. */
  readonly assignment: SharedArrayBuffer;
}
