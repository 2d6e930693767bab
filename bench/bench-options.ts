import type { Measurement } from "./measurement.ts";
import type { System } from "./systems/system.ts";

export interface BenchOptions {
  /** On the file system that is measured. */
  readonly directory: string;
  readonly system: System;
  /** CPU list for `taskset`; the load has the other cores then. */
  readonly serverCpus: string | undefined;
  /** Calls in flight. */
  readonly writers: number;
  readonly connections: number;
  readonly clientThreads: number;
  /** Of one blob in the scenario `uploads`. */
  readonly blobBytes: number;
  /** Of one run of `uploads`. */
  readonly runBytes: number;
  /** Of the upload mix. */
  readonly mixBytes: number;
  readonly runs: number;
}

export interface BenchRow extends Measurement {
  readonly scenario: string;
  readonly system: string;
  readonly durability: string;
  /** Blobs or digests in one call. */
  readonly itemsPerOperation: number;
  readonly clientCpuSeconds?: number;
  readonly serverCpuSeconds?: number;
  /** Of it, by name of the thread: `MainThread`, `WorkerThread`, … */
  readonly serverThreadCpuSeconds?: Readonly<Record<string, number>>;
  readonly serverRssPeakMib?: number;
  /** Before the first request of the row. */
  readonly serverRssIdleMib?: number;
}

export type Report = (row: BenchRow) => void;
