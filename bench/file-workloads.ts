/** Blobs as files, for servers that know nothing but files: what they read is what a cache reads (README). */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { BlobCheck } from "./blob-check.ts";
import type { BlobPlan } from "./blob-plan.ts";
import { contentToCompare, forEachBlob } from "./byte-stream-workloads.ts";
import type { Workload } from "./workload.ts";

/** Puts the blobs where the server finds them; no call is made. @param directory the server's document root. */
export function fileWrites(plan: BlobPlan, directory: string): Workload {
  return forEachBlob(plan, (_, blob) => {
    writeFileSync(join(directory, blob.hash), plan.wholeContent(blob));
    return Promise.resolve();
  });
}

export function fileReads(plan: BlobPlan): Workload {
  return forEachBlob(plan, async (connection, blob, number) => {
    const check = new BlobCheck(blob, contentToCompare(plan, blob, number));
    await connection.get(`/${blob.hash}`, check);
    check.end();
  });
}
