import type { MessagePort } from "node:worker_threads";
import { CacheError } from "../../cache/cache-error.ts";
import { ThreadCalls } from "../../thread-calls.ts";
import type { ShardListenerMethods, ShardMethodName, ShardMethods, ShardTask } from "./shard-protocol.ts";

/** Runs a task of a shard, whoever asks for it. */
export type HandleShardTask = (task: ShardTask) => Promise<ShardMethods[ShardMethodName]["response"]>;

/**
 * Serves a listener thread beside the main one. What it asks joins the queue that everybody's uploads join, so that one
 * group commit takes the uploads of all of them.
 * @returns when the thread has ended and everything that it had asked is done.
 */
export async function serveListener(port: MessagePort, handle: HandleShardTask): Promise<void> {
  const run = <M extends keyof ShardListenerMethods>(method: M) =>
    ((request: ShardMethods[M]["request"]) => handle({ method, request } as ShardTask)) as (
      request: ShardMethods[M]["request"],
    ) => Promise<ShardMethods[M]["response"]>;
  const calls = new ThreadCalls<Record<never, never>, ShardListenerMethods>(port, {
    put: run("put"),
    putMany: run("putMany"),
    quarantine: run("quarantine"),
  });
  // A port closes after its last message: whatever the thread had sent has been taken by then.
  await new Promise((resolve) => port.once("close", resolve));
  calls.end(new CacheError("unavailable", "the listener thread has ended"));
  await calls.idle();
}
