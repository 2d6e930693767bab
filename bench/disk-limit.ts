import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { Measurement } from "./measurement.ts";
import { summarize } from "./measurement.ts";
import { runWorker } from "./worker-result.ts";

export interface DiskLimitTask {
  readonly path: string;
  readonly recordBytes: number;
  readonly records: number;
  /** Written with one call and synced together. */
  readonly recordsPerGroup: number;
}

export interface DiskLimitResult {
  /** Milliseconds since the epoch, comparable between threads. */
  readonly startedAt: number;
  readonly endedAt: number;
  /** Of each group, which is what one of its records waits. */
  readonly latenciesMs: number[];
}

/**
 * What the disk itself can do: threads that only append groups of records and `fdatasync` them, without a server, a
 * hash or an index. With as many records on their way as the server has uploads in flight, it is the rate that the
 * server's own group commit could reach at the most.
 */
export async function measureDiskLimit(options: {
  directory: string;
  threads: number;
  recordBytes: number;
  records: number;
  recordsInFlight: number;
}): Promise<Measurement> {
  const records = Math.ceil(options.records / options.threads);
  const recordsPerGroup = Math.max(1, Math.floor(options.recordsInFlight / options.threads));
  // Not removed here, see ServerBench: the files of whoever comes next would be written to the blocks of these.
  const directory = mkdtempSync(join(options.directory, "disk-limit-"));
  const paths = Array.from({ length: options.threads }, (_, thread) => join(directory, `${thread}`));
  const results = await Promise.all(
    paths.map((path) =>
      runWorker<DiskLimitResult>("disk-limit-worker.ts", {
        path,
        recordBytes: options.recordBytes,
        records,
        recordsPerGroup,
      }),
    ),
  );
  const startedAt = Math.min(...results.map((result) => result.startedAt));
  const endedAt = Math.max(...results.map((result) => result.endedAt));
  return summarize({
    operations: records * options.threads,
    bytes: records * options.threads * options.recordBytes,
    seconds: (endedAt - startedAt) / 1000,
    latenciesMs: results.flatMap((result) => result.latenciesMs),
  });
}
