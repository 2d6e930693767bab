/** Thread entry: calls of its own over connections of its own. See load-generator.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { actionHits, actionMisses, actionUpdates } from "./action-workloads.ts";
import { BlobPlan } from "./blob-plan.ts";
import { reads, uploads } from "./byte-stream-workloads.ts";
import { batchReads, batchUpdates, findMissing } from "./cas-workloads.ts";
import { fileReads, fileWrites } from "./file-workloads.ts";
import { GrpcConnection } from "./grpc-connection.ts";
import { type LoadOrder, type LoadOperation, type LoadPhase, type LoadTask, STOP } from "./load-generator.ts";
import type { WorkloadMaker } from "./workload.ts";

const WORKLOADS = {
  upload: uploads,
  readBack: reads,
  findMissing,
  batchUpdate: batchUpdates,
  batchRead: batchReads,
  actionUpdate: actionUpdates,
  actionHit: actionHits,
  actionMiss: actionMisses,
  fileWrite: (blobs, { directory }) => fileWrites(blobs, directory),
  fileRead: fileReads,
} satisfies Record<LoadOperation, WorkloadMaker>;

const task = workerData as LoadTask;
const plan = new BlobPlan(task.classes, task.bytes);
const connections = await Promise.all(
  Array.from({ length: task.connections }, () => GrpcConnection.open(task.endpoint)),
);
let isStopped = false;

async function runPhase(order: LoadOrder): Promise<LoadPhase> {
  const workload = WORKLOADS[order.operation](plan, order);
  const latenciesMs: number[] = [];
  const calls = workload.calls * order.passes;
  let next = 0;
  isStopped = false;
  const cpuAtStart = process.threadCpuUsage();
  const startedAt = performance.timeOrigin + performance.now();
  const loops = Array.from({ length: task.concurrency }, async (_, loop) => {
    const connection = connections[loop % connections.length];
    if (connection === undefined) throw new RangeError("at least one connection is needed");
    while (next < calls && !isStopped) {
      const number = next++ % workload.calls;
      const callStartedAt = performance.now();
      await workload.call(connection, number);
      latenciesMs.push(performance.now() - callStartedAt);
    }
  });
  await Promise.all(loops);
  const endedAt = performance.timeOrigin + performance.now();
  const cpu = process.threadCpuUsage(cpuAtStart);
  const bytes = workload.bytes * (latenciesMs.length / workload.calls);
  return { startedAt, endedAt, bytes, latenciesMs, cpuSeconds: (cpu.user + cpu.system) / 1e6 };
}

parentPort?.on("message", (order: LoadOrder | typeof STOP) => {
  if (order === STOP) {
    isStopped = true;
    return;
  }
  void runPhase(order).then(
    (phase) => parentPort?.postMessage(phase),
    // Rethrown outside of the promise, so that it ends the thread and reaches whoever waits for it.
    (error: unknown) =>
      queueMicrotask(() => {
        throw error;
      }),
  );
});
parentPort?.postMessage("ready");
