import "../src/engine-flags.ts";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { SizeClass } from "./blob-plan.ts";
import { type Measurement, summarize } from "./measurement.ts";

/** What is read or found has to be stored before, by the first operation of a line; actions need the blobs, too. */
export type LoadOperation =
  | ("upload" | "readBack")
  | ("batchUpdate" | "batchRead" | "findMissing")
  | ("actionUpdate" | "actionHit" | "actionMiss")
  | ("fileWrite" | "fileRead");

export interface LoadOrder {
  readonly operation: LoadOperation;
  /** In one call, where a call takes more than one. */
  readonly batchBlobs: number;
  /** Over all blobs of the task; endless until {@link LoadGenerator.runDuring} stops it. */
  readonly passes: number;
  /** For `fileWrite`. */
  readonly directory: string;
}

/** Lets the calls in flight end, and makes no more. */
export const STOP = "stop";

/** The part of one thread. */
export interface LoadTask {
  readonly endpoint: string;
  readonly classes: readonly SizeClass[];
  readonly bytes: number;
  /** Calls in flight. */
  readonly concurrency: number;
  readonly connections: number;
}

/** What one thread measured. */
export interface LoadPhase {
  /** Milliseconds since the epoch, comparable between threads. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly bytes: number;
  readonly latenciesMs: number[];
  readonly cpuSeconds: number;
}

export interface LoadMeasurement extends Measurement {
  readonly clientCpuSeconds: number;
}

/** Client threads that make and hash their blobs, connect, and then wait for the word to start. */
export class LoadGenerator implements AsyncDisposable {
  readonly #workers: readonly Worker[];

  private constructor(workers: readonly Worker[]) {
    this.#workers = workers;
  }

  /** @param task what all threads together do. */
  static async start(task: LoadTask, threads: number): Promise<LoadGenerator> {
    const share: LoadTask = {
      ...task,
      bytes: task.bytes / threads,
      concurrency: Math.max(1, Math.round(task.concurrency / threads)),
      connections: Math.max(1, Math.round(task.connections / threads)),
    };
    const entry = new URL("./load-worker.ts", import.meta.url);
    const generator = new LoadGenerator(
      Array.from({ length: threads }, () => new Worker(entry, { workerData: share })),
    );
    await generator.#fromEach();
    return generator;
  }

  /** @throws where any call fails: a benchmark of failures would be a lie. */
  async run(operation: LoadOperation, given: Partial<LoadOrder> = {}): Promise<LoadMeasurement> {
    const order: LoadOrder = { batchBlobs: 1, passes: 1, directory: "", ...given, operation };
    for (const worker of this.#workers) worker.postMessage(order);
    return measurementOf((await this.#fromEach()) as LoadPhase[]);
  }

  /** Runs for as long as `other` does. @throws what either throws. */
  async runDuring(
    other: () => Promise<unknown>,
    operation: LoadOperation,
    order: Partial<LoadOrder> = {},
  ): Promise<LoadMeasurement> {
    const running = this.run(operation, { ...order, passes: Number.POSITIVE_INFINITY });
    await Promise.race([running, other()]);
    for (const worker of this.#workers) worker.postMessage(STOP);
    return await running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  /** The next message of every thread; an error in one of them rejects. */
  async #fromEach(): Promise<unknown[]> {
    return await Promise.all(this.#workers.map(async (worker) => ((await once(worker, "message")) as [unknown])[0]));
  }
}

/** Of threads that ran at the same time. */
export function measurementOf(phases: readonly LoadPhase[]): LoadMeasurement {
  const startedAt = Math.min(...phases.map((phase) => phase.startedAt));
  const endedAt = Math.max(...phases.map((phase) => phase.endedAt));
  const latenciesMs = phases.flatMap((phase) => phase.latenciesMs);
  const measurement = summarize({
    operations: latenciesMs.length,
    bytes: phases.reduce((sum, phase) => sum + phase.bytes, 0),
    seconds: (endedAt - startedAt) / 1000,
    latenciesMs,
  });
  return { ...measurement, clientCpuSeconds: phases.reduce((sum, phase) => sum + phase.cpuSeconds, 0) };
}
