import { threadId, workerData } from "node:worker_threads";
import { systemClock } from "../src/clock.ts";
import { nodeFileSystem } from "../src/storage/file-system.ts";
import { openShard } from "../src/storage/shard/open-shard.ts";
import type { ShardTask, ShardWorkerData } from "../src/storage/shard/shard-protocol.ts";

// Piscina hands its own fields to the worker beside ours; the pool has one thread, so this runs once a shard.
const server = openShard(workerData as ShardWorkerData, threadId, nodeFileSystem, systemClock);

export default (task: ShardTask): Promise<unknown> => server.handle(task);
