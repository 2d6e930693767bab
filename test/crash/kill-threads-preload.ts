/** Imported into every thread of a server: each SIGUSR2 ends the next one of its threads, in turns in two ways. */
import { BroadcastChannel, isMainThread, threadId, type Worker, workerData } from "node:worker_threads";

const VICTIMS = ["shard 0", "listener 1", "shard 1"];
const channel = new BroadcastChannel("threads");
channel.unref();

if (isMainThread) endThreads();
else channel.postMessage({ threadId, name: ownName((workerData ?? {}) as OwnData) });

interface OwnData {
  readonly shardIndex?: number;
  readonly listenerIndex?: number;
}

function ownName({ shardIndex, listenerIndex }: OwnData): string {
  if (shardIndex !== undefined) return `shard ${shardIndex}`;
  return listenerIndex === undefined ? "another" : `listener ${listenerIndex}`;
}

function endThreads(): void {
  const workers: Worker[] = [];
  const ids = new Map<string, number>();
  let ended = 0;
  process.on("worker", (worker) => workers.push(worker));
  channel.onmessage = ({ data }) => {
    const thread = data as { threadId: number; name: string };
    ids.set(thread.name, thread.threadId);
  };
  const endNext = (): void => {
    const name = VICTIMS[ended % VICTIMS.length]!;
    const victim = workers.find((worker) => worker.threadId === ids.get(name));
    // What a new thread is called comes by a message, which may be late.
    if (victim === undefined) return void setTimeout(endNext, 5);
    // Nobody sends such a message: what its reader throws, nobody catches.
    if (ended % 2 === 0) victim.postMessage(null);
    else void victim.terminate();
    ended++;
  };
  process.on("SIGUSR2", endNext);
}
