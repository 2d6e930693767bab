import type { AtRest } from "../../cache/encoding.ts";
import type { Clock } from "../../clock.ts";
import type { DiskLedger } from "../disk-ledger.ts";
import type { FileSystem } from "../file-system.ts";
import type { IndexWriter } from "../index/index-writer.ts";
import type { ShardAssignment } from "./shard-assignment.ts";
import type { ShardStats } from "./shard-stats.ts";

/** Everything that the parts of one shard share. */
export interface ShardContext {
  readonly shardIndex: number;
  readonly shardCount: number;
  readonly segmentsDirectory: string;
  readonly checkpointDirectory: string;
  readonly stagingDirectory: string;
  readonly durability: "commit" | "relaxed";
  readonly atRest: AtRest;
  /** Bytes of the disk that are not for uploads. */
  readonly keepFreeBytes: number;
  readonly segmentBytesMax: number;
  readonly minLeaseSeconds: number;
  readonly slab: Uint8Array;
  readonly slabBlockBytes: number;
  readonly fileSystem: FileSystem;
  readonly index: IndexWriter;
  readonly ledger: DiskLedger;
  readonly assignment: ShardAssignment;
  readonly stats: ShardStats;
  readonly clock: Clock;
  /** For segment nonces; a 32-bit random number. */
  readonly randomWord: () => number;
}
