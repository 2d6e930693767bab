import { randomInt } from "node:crypto";
import type { Clock } from "../../clock.ts";
import { DiskLedger } from "../disk-ledger.ts";
import type { FileSystem } from "../file-system.ts";
import { IndexWriter } from "../index/index-writer.ts";
import { StorePaths } from "../store-paths.ts";
import { Shard } from "./shard.ts";
import { ShardAssignment } from "./shard-assignment.ts";
import type { ShardWorkerData } from "./shard-protocol.ts";
import { ShardServer } from "./shard-server.ts";
import { ShardStats } from "./shard-stats.ts";

/** Claims a shard slot for this thread and builds the shard over the shared memory that it was given. */
export function openShard(data: ShardWorkerData, threadId: number, fileSystem: FileSystem, clock: Clock): ShardServer {
  const assignment = new ShardAssignment(data.shardCount, data.assignment);
  assignment.claim(data.shardIndex, threadId);
  const paths = new StorePaths(data.directory);
  const shard = new Shard({
    ...data,
    segmentsDirectory: paths.segments,
    checkpointDirectory: paths.checkpoint,
    minLeaseSeconds: data.minLeaseMs / 1000,
    slab: new Uint8Array(data.slab),
    fileSystem,
    index: new IndexWriter(data.index),
    ledger: new DiskLedger(data.bytesMax, data.ledger),
    assignment,
    stats: new ShardStats(data.stats),
    clock,
    randomWord: () => randomInt(2 ** 32),
  });
  return new ShardServer(shard);
}
