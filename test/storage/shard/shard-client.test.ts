import { setImmediate as nextTurn } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ACTION_CACHE_SPACE } from "../../../src/cache/entry-key.ts";
import { ShardAssignment } from "../../../src/storage/shard/shard-assignment.ts";
import { type ShardClient, type StartShard, startShardWorker } from "../../../src/storage/shard/shard-client.ts";
import type { PutRequest, ShardWorkerData } from "../../../src/storage/shard/shard-protocol.ts";
import { expectCode } from "../../contract/entry-store-contract.ts";
import { openTestEngine, type TestEngine } from "../../support/test-engine.ts";

const UPLOAD: PutRequest = {
  space: ACTION_CACHE_SPACE,
  key: new Uint8Array(32),
  contentAddressed: false,
  encoding: 0,
  sizeBytes: 1,
  stagedBytes: 1,
  owner: 0,
  source: { kind: "slab", blocks: [0], start: 0 },
  adopt: false,
};
let engine: TestEngine;
let client: ShardClient;
/** All that were started since the client was made, its own first. */
let threads: Worker[];
const noteThread = (worker: Worker): void => void threads.push(worker);

beforeEach(async () => {
  let data: ShardWorkerData | undefined;
  const startShard: StartShard = (given, onDeath) => startShardWorker((data = given), onDeath);
  engine = await openTestEngine({ shardCount: 1, startShard });
  if (data === undefined) throw new Error("the engine has started its shard");
  threads = [];
  process.on("worker", noteThread);
  client = startShardWorker({ ...data, assignment: new ShardAssignment(1).buffer }, () => {});
});
afterEach(async () => {
  process.off("worker", noteThread);
  for (const thread of threads) await thread.terminate();
  await engine.close();
});

describe("the client of a shard's thread", () => {
  test("refuses an upload that was gathered when the thread is ended, and starts no other thread for it", async () => {
    const refused = expectCode("unavailable", () => client.call("put", UPLOAD));
    const ended = client.terminate();
    // A thread is told of at the end of the turn in which it is started, which is that in which uploads are sent.
    await nextTurn();
    await nextTurn();
    expect(threads).toHaveLength(1);
    await Promise.all([refused, ended]);
  });
});
