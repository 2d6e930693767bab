/** Thread entry: writers and readers of its own over connections of its own. See load-generator.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { BlobPlan, type PlannedBlob } from "./blob-plan.ts";
import { ByteCollector } from "./byte-collector.ts";
import { committedSize, readRequest } from "./byte-stream-messages.ts";
import { GrpcConnection } from "./grpc-connection.ts";
import type { LoadOperation, LoadPhase, LoadTask } from "./load-generator.ts";
import { ReadCheck } from "./read-check.ts";
import { WriteBodyTemplate } from "./write-body.ts";

/** One read blob in so many is compared byte by byte; of each one the length and the end are. */
const COMPARE_ONE_IN = 16;

const task = workerData as LoadTask;
const plan = new BlobPlan(task.classes, task.bytes);
const templates = task.classes.map((_, classIndex) => new WriteBodyTemplate(plan.content(classIndex)));
const connections = await Promise.all(
  Array.from({ length: task.connections }, () => GrpcConnection.open(task.endpoint)),
);

async function upload(connection: GrpcConnection, blob: PlannedBlob): Promise<void> {
  const response = new ByteCollector();
  const messages = templates[blob.classIndex]?.fill(blob) ?? [];
  await connection.call("/google.bytestream.ByteStream/Write", messages, response);
  const committed = committedSize(response.bytes);
  if (committed !== blob.sizeBytes) throw new Error(`committed_size ${committed}, expected ${blob.sizeBytes}`);
}

async function readBack(connection: GrpcConnection, blob: PlannedBlob, number: number): Promise<void> {
  const check = new ReadCheck(blob, plan, number % COMPARE_ONE_IN === 0);
  await connection.call("/google.bytestream.ByteStream/Read", [[readRequest(blob)]], check);
  check.end();
}

async function runPhase(operation: typeof readBack): Promise<LoadPhase> {
  const latenciesMs: number[] = [];
  const queue = plan.blobs.entries();
  const cpuAtStart = process.threadCpuUsage();
  const startedAt = performance.timeOrigin + performance.now();
  const loops = Array.from({ length: task.concurrency }, async (_, loop) => {
    const connection = connections[loop % connections.length];
    if (connection === undefined) throw new RangeError("at least one connection is needed");
    for (const [number, blob] of queue) {
      const operationStartedAt = performance.now();
      await operation(connection, blob, number);
      latenciesMs.push(performance.now() - operationStartedAt);
    }
  });
  await Promise.all(loops);
  const endedAt = performance.timeOrigin + performance.now();
  const cpu = process.threadCpuUsage(cpuAtStart);
  const bytes = plan.blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0);
  return { startedAt, endedAt, bytes, latenciesMs, cpuSeconds: (cpu.user + cpu.system) / 1e6 };
}

const OPERATIONS = { upload, readBack } satisfies Record<LoadOperation, typeof readBack>;

parentPort?.on("message", (operation: LoadOperation) => {
  void runPhase(OPERATIONS[operation]).then(
    (phase) => parentPort?.postMessage(phase),
    // Rethrown outside of the promise, so that it ends the thread and reaches whoever waits for it.
    (error: unknown) =>
      queueMicrotask(() => {
        throw error;
      }),
  );
});
parentPort?.postMessage("ready");
