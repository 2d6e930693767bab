/** Thread entry: one phase of a recorded build, over connections of its own. See replay/recording.ts. */
import { readFileSync } from "node:fs";
import { workerData } from "node:worker_threads";
import { GrpcConnection } from "./grpc-connection.ts";
import type { LoadPhase } from "./load-generator.ts";
import { decodeRecording } from "./replay/recording.ts";
import { makeReplayBlobs } from "./replay/replay-blobs.ts";
import { prepareCalls } from "./replay/replay-calls.ts";
import type { ReplayTask } from "./replay/replay-task.ts";
import { exitWithResult } from "./worker-result.ts";

const task = workerData as ReplayTask;
const recording = decodeRecording(readFileSync(new URL(`./replay/${task.recording}`, import.meta.url), "utf8"));
const phase = recording.phases.find(({ name }) => name === task.phase);
if (phase === undefined) throw new RangeError(`${task.recording} has no phase ${task.phase}`);
const blobs = makeReplayBlobs(recording, task.seed);
// Of each action, its steps, and of each step, its calls.
const actions = phase.actions.map(({ number, steps }) =>
  steps.map((step) => step.flatMap((calls) => prepareCalls(calls, number, blobs))),
);
const connections = await Promise.all(
  Array.from({ length: task.connections }, () => GrpcConnection.open(task.endpoint)),
);

const latenciesMs: number[] = [];
let bytes = 0;
let calls = 0;
let next = 0;
const cpuAtStart = process.threadCpuUsage();
const startedAt = performance.timeOrigin + performance.now();
// As many actions as the build had in flight; what is missing are the tools that it ran in between.
await Promise.all(Array.from({ length: phase.actionsInFlight }, runActions));
const endedAt = performance.timeOrigin + performance.now();
const cpu = process.threadCpuUsage(cpuAtStart);
const result: LoadPhase = { startedAt, endedAt, bytes, latenciesMs, cpuSeconds: (cpu.user + cpu.system) / 1e6 };
await Promise.all(connections.map((connection) => connection[Symbol.asyncDispose]()));
exitWithResult(result);

async function runActions(): Promise<void> {
  for (let action = actions[next++]; action !== undefined; action = actions[next++]) {
    for (const step of action) {
      await Promise.all(
        step.map(async (call) => {
          const connection = connections[calls++ % connections.length];
          if (connection === undefined) throw new RangeError("at least one connection is needed");
          const callStartedAt = performance.now();
          await call.make(connection);
          latenciesMs.push(performance.now() - callStartedAt);
          bytes += call.bytes;
        }),
      );
    }
  }
}
