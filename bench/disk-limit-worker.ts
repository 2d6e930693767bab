/** Thread entry: appends groups of records to a file of its own and syncs each group. See disk-limit.ts. */
import { closeSync, fdatasyncSync, openSync, writevSync } from "node:fs";
import { workerData } from "node:worker_threads";
import type { DiskLimitResult, DiskLimitTask } from "./disk-limit.ts";
import { exitWithResult } from "./worker-result.ts";

const task = workerData as DiskLimitTask;
const record = Buffer.alloc(task.recordBytes);
// Not zeros: a disk or a file system may treat those as holes.
for (let offset = 0; offset < record.length; offset += 4)
  record.writeUInt32LE(Math.imul(offset + 1, 2654435761) >>> 0, offset);

const file = openSync(task.path, "w");
const latenciesMs: number[] = [];
const startedAt = performance.now();
let written = 0;
while (written < task.records) {
  const group = Math.min(task.recordsPerGroup, task.records - written);
  const groupStartedAt = performance.now();
  const writtenBytes = writevSync(
    file,
    Array.from({ length: group }, () => record),
  );
  if (writtenBytes !== group * record.length)
    throw new Error(`short write: ${writtenBytes} of ${group * record.length} bytes`);
  fdatasyncSync(file);
  latenciesMs.push(performance.now() - groupStartedAt);
  written += group;
}
closeSync(file);
exitWithResult<DiskLimitResult>({
  startedAt: startedAt + performance.timeOrigin,
  endedAt: performance.now() + performance.timeOrigin,
  latenciesMs,
});
