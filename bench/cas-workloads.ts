import type { BlobPlan, PlannedBlob } from "./blob-plan.ts";
import { ByteCollector } from "./byte-collector.ts";
import type { GrpcConnection } from "./grpc-connection.ts";
import type { LoadOrder } from "./load-generator.ts";
import { bytesField, grpcMessage, varintField } from "./proto-fields.ts";
import { bytesOf, protoFields, unaryMessage } from "./response-fields.ts";
import { COMPARE_ONE_IN, type Workload } from "./workload.ts";

const SERVICE = "/build.bazel.remote.execution.v2.ContentAddressableStorage";

/** Asks for blobs that are there. */
export function findMissing(plan: BlobPlan, { batchBlobs }: Pick<LoadOrder, "batchBlobs">): Workload {
  const requests = batches(plan, batchBlobs).map((blobs) => request(blobs.map((blob) => bytesField(2, digest(blob)))));
  return {
    calls: requests.length,
    bytes: 0,
    async call(connection, number) {
      const message = await unaryCall(connection, "FindMissingBlobs", requests[number]);
      if (message.length > 0) throw new Error("FindMissingBlobs: a blob that was uploaded is missing");
    },
  };
}

export function batchUpdates(plan: BlobPlan, { batchBlobs }: Pick<LoadOrder, "batchBlobs">): Workload {
  const groups = batches(plan, batchBlobs);
  return {
    calls: groups.length,
    bytes: plan.bytes,
    async call(connection, number) {
      const blobs = groups[number] ?? [];
      const entries = blobs.map((blob) =>
        bytesField(2, Buffer.concat([bytesField(1, digest(blob)), bytesField(2, plan.wholeContent(blob))])),
      );
      const message = await unaryCall(connection, "BatchUpdateBlobs", request(entries));
      let taken = 0;
      for (const response of protoFields(message)) {
        expectOk(bytesOf(response.bytes, 2));
        taken++;
      }
      if (taken !== blobs.length) throw new Error(`BatchUpdateBlobs: ${taken} answers for ${blobs.length} blobs`);
    },
  };
}

export function batchReads(plan: BlobPlan, { batchBlobs }: Pick<LoadOrder, "batchBlobs">): Workload {
  const groups = batches(plan, batchBlobs);
  const requests = groups.map((blobs) => request(blobs.map((blob) => bytesField(2, digest(blob)))));
  return {
    calls: groups.length,
    bytes: plan.bytes,
    async call(connection, number) {
      const message = await unaryCall(connection, "BatchReadBlobs", requests[number]);
      const missing = new Map((groups[number] ?? []).map((blob) => [blob.hash, blob]));
      for (const response of protoFields(message)) {
        expectOk(bytesOf(response.bytes, 3));
        const hash = bytesOf(bytesOf(response.bytes, 1), 1).toString("latin1");
        const blob = missing.get(hash);
        const isWhole = number % COMPARE_ONE_IN === 0;
        if (blob === undefined || !holds(plan, blob, bytesOf(response.bytes, 2), isWhole))
          throw new Error(`BatchReadBlobs: wrong bytes for ${hash}`);
        missing.delete(hash);
      }
      if (missing.size > 0) throw new Error(`BatchReadBlobs: no answer for ${missing.size} blobs`);
    },
  };
}

/** A Digest message. */
export function digest(blob: Pick<PlannedBlob, "hash" | "sizeBytes">): Buffer {
  return Buffer.concat([bytesField(1, Buffer.from(blob.hash)), varintField(2, blob.sizeBytes)]);
}

function holds(plan: BlobPlan, blob: PlannedBlob, data: Buffer, whole: boolean): boolean {
  if (data.length !== blob.sizeBytes) return false;
  return whole ? data.equals(plan.wholeContent(blob)) : data.subarray(-blob.stamp.length).equals(blob.stamp);
}

/** @param status a google.rpc.Status. */
function expectOk(status: Buffer): void {
  for (const field of protoFields(status)) {
    if (field.number === 1 && field.value !== 0) throw new Error(`a blob's status is ${field.value}`);
  }
}

function batches(plan: BlobPlan, batchBlobs: number): PlannedBlob[][] {
  const count = Math.ceil(plan.blobs.length / batchBlobs);
  return Array.from({ length: count }, (_, i) => plan.blobs.slice(i * batchBlobs, (i + 1) * batchBlobs));
}

function request(fields: readonly Buffer[]): Buffer {
  return grpcMessage(Buffer.concat(fields));
}

async function unaryCall(connection: GrpcConnection, method: string, message: Buffer | undefined): Promise<Buffer> {
  const response = new ByteCollector();
  await connection.call(`${SERVICE}/${method}`, [[message ?? Buffer.alloc(0)]], response);
  return unaryMessage(response.bytes);
}
