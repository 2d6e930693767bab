import type { Measurement } from "./measurement.ts";

export interface BenchOptions {
  /** On the file system that is measured. */
  readonly directory: string;
  readonly durability: "commit" | "relaxed";
  /** The server's `--grpc-transport`. */
  readonly transport: string;
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
  readonly transport: string;
  readonly durability: string;
  /** Blobs or digests in one call. */
  readonly itemsPerOperation: number;
  readonly clientCpuSeconds?: number;
  readonly serverCpuSeconds?: number;
  readonly serverRssPeakMib?: number;
  /** Before the first request of the row. */
  readonly serverRssIdleMib?: number;
}

export type Report = (row: BenchRow) => void;
