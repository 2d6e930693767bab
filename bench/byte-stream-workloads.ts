import { BlobCheck } from "./blob-check.ts";
import type { BlobPlan, PlannedBlob } from "./blob-plan.ts";
import { ByteCollector } from "./byte-collector.ts";
import { committedSize, readRequest } from "./byte-stream-messages.ts";
import { ReadCheck } from "./read-check.ts";
import { COMPARE_ONE_IN, type Workload } from "./workload.ts";
import { WriteBodyTemplate } from "./write-body.ts";

const SERVICE = "/google.bytestream.ByteStream";

export function uploads(plan: BlobPlan): Workload {
  const templates = plan.contents.map((content) => new WriteBodyTemplate(content));
  return forEachBlob(plan, async (connection, blob) => {
    const response = new ByteCollector();
    await connection.call(`${SERVICE}/Write`, templates[blob.classIndex]?.fill(blob) ?? [], response);
    const committed = committedSize(response.bytes);
    if (committed !== blob.sizeBytes) throw new Error(`committed_size ${committed}, expected ${blob.sizeBytes}`);
  });
}

export function reads(plan: BlobPlan): Workload {
  return forEachBlob(plan, async (connection, blob, number) => {
    const check = new ReadCheck(new BlobCheck(blob, contentToCompare(plan, blob, number)));
    await connection.call(`${SERVICE}/Read`, [[readRequest(blob)]], check);
    check.end();
  });
}

export function contentToCompare(plan: BlobPlan, blob: PlannedBlob, number: number): Buffer | undefined {
  return number % COMPARE_ONE_IN === 0 ? plan.content(blob.classIndex) : undefined;
}

export function forEachBlob(
  plan: BlobPlan,
  call: (connection: Parameters<Workload["call"]>[0], blob: PlannedBlob, number: number) => Promise<void>,
): Workload {
  return {
    calls: plan.blobs.length,
    bytes: plan.bytes,
    call: (connection, number) => call(connection, plan.blob(number), number),
  };
}
