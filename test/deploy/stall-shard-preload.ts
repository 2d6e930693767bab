/** Imported into every thread of a server: on SIGUSR2 its first shard worker answers nothing any more. */
import { BroadcastChannel, isMainThread, workerData } from "node:worker_threads";

const channel = new BroadcastChannel("stall");
channel.unref();
if (isMainThread) process.on("SIGUSR2", () => channel.postMessage("now"));
else if ((workerData as { shardIndex?: number } | null)?.shardIndex === 0) {
  channel.onmessage = () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
