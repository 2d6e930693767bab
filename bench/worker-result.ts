import "../src/engine-flags.ts";
import { once } from "node:events";
import { parentPort, Worker } from "node:worker_threads";

/** Runs a thread entry of this folder to its end. @throws what the thread threw. */
export async function runWorker<Result>(entry: string, task: unknown): Promise<Result> {
  const worker = new Worker(new URL(`./${entry}`, import.meta.url), { workerData: task });
  const [result] = (await once(worker, "message")) as [Result];
  await worker.terminate();
  return result;
}

/** The one message that a thread entry sends. */
export function exitWithResult<Result>(result: Result): void {
  parentPort?.postMessage(result);
}
