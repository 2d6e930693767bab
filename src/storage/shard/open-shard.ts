import { randomInt } from "node:crypto";
import type { Clock } from "../../clock.ts";
import { DiskLedger } from "../disk-ledger.ts";
import type { FileSystem } from "../file-system.ts";
import { IndexWriter } from "../index/index-writer.ts";
import { StorePaths } from "../store-paths.ts";
import { removeRecoded } from "./at-rest.ts";
import { Shard } from "./shard.ts";
import { ShardAssignment } from "./shard-assignment.ts";
import type { ShardWorkerData } from "./shard-protocol.ts";
import { ShardServer } from "./shard-server.ts";
import { ShardStats } from "./shard-stats.ts";

/** What a thread decides by chance or by its event loop, so that tests can decide it by a seed. */
export interface ShardSeams {
  /** For segment nonces; a 32-bit random number. */
  readonly randomWord?: () => number;
  readonly scheduleRound?: (round: () => void) => void;
}

/** Claims a shard slot for this thread and builds the shard over the shared memory that it was given. */
export function openShard(
  data: ShardWorkerData,
  threadId: number,
  fileSystem: FileSystem,
  clock: Clock,
  { randomWord = () => randomInt(2 ** 32), scheduleRound }: ShardSeams = {},
): ShardServer {
  const assignment = new ShardAssignment(data.shardCount, data.assignment);
  assignment.claim(data.shardIndex, threadId);
  const paths = new StorePaths(data.directory);
  removeRecoded(fileSystem, paths.staging, data.shardIndex);
  const shard = new Shard({
    ...data,
    segmentsDirectory: paths.segments,
    checkpointDirectory: paths.checkpoint,
    stagingDirectory: paths.staging,
    minLeaseSeconds: data.minLeaseMs / 1000,
    slab: new Uint8Array(data.slab),
    fileSystem,
    index: new IndexWriter(data.index),
    ledger: new DiskLedger(data.bytesMax, data.ledger),
    assignment,
    stats: new ShardStats(data.stats),
    clock,
    randomWord,
  });
  return new ShardServer(shard, scheduleRound);
}
