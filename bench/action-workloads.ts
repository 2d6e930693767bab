import { createHash } from "node:crypto";
import type { BlobPlan, PlannedBlob } from "./blob-plan.ts";
import { ByteCollector } from "./byte-collector.ts";
import { digest } from "./cas-workloads.ts";
import { bytesField, grpcMessage } from "./proto-fields.ts";
import type { Workload } from "./workload.ts";

const SERVICE = "/build.bazel.remote.execution.v2.ActionCache";
const ACTION_BYTES = 142;
const NOT_FOUND = "5";

/** An action for each blob, which is its one output file. */
export function actionUpdates(plan: BlobPlan): Workload {
  return forEachAction(plan, "UpdateActionResult", (blob) => [
    bytesField(2, actionDigest(blob, "hit")),
    bytesField(
      3,
      bytesField(2, Buffer.concat([bytesField(1, Buffer.from("bazel-out/o")), bytesField(2, digest(blob))])),
    ),
  ]);
}

export function actionHits(plan: BlobPlan): Workload {
  return forEachAction(plan, "GetActionResult", (blob) => [bytesField(2, actionDigest(blob, "hit"))]);
}

export function actionMisses(plan: BlobPlan): Workload {
  const fieldsOf = (blob: PlannedBlob): Buffer[] => [bytesField(2, actionDigest(blob, "miss"))];
  return forEachAction(plan, "GetActionResult", fieldsOf, NOT_FOUND);
}

/** @param expectedStatus OK comes with an action result that names the blob. */
function forEachAction(
  plan: BlobPlan,
  method: string,
  fieldsOf: (blob: PlannedBlob) => Buffer[],
  expectedStatus = "0",
): Workload {
  const requests = plan.blobs.map((blob) => [[grpcMessage(Buffer.concat(fieldsOf(blob)))]]);
  return {
    calls: requests.length,
    bytes: 0,
    async call(connection, number) {
      const response = new ByteCollector();
      await connection.call(`${SERVICE}/${method}`, requests[number] ?? [], response, expectedStatus);
      if (expectedStatus === "0" && !response.bytes.includes(plan.blob(number).hash, 0, "latin1"))
        throw new Error(`${method}: an answer without the output file`);
    },
  };
}

function actionDigest(blob: PlannedBlob, kind: string): Buffer {
  const hash = createHash("sha256").update(kind).update(blob.hash).digest("hex");
  return digest({ hash, sizeBytes: ACTION_BYTES });
}
