import { hash } from "node:crypto";
import { BlobCheck } from "../blob-check.ts";
import { ByteCollector } from "../byte-collector.ts";
import { committedSize, readRequest } from "../byte-stream-messages.ts";
import { digest } from "../cas-workloads.ts";
import type { GrpcConnection } from "../grpc-connection.ts";
import { bytesField, grpcMessage } from "../proto-fields.ts";
import { ReadCheck } from "../read-check.ts";
import { wholeWriteBody } from "../write-body.ts";
import type { RecordedCalls } from "./recording.ts";
import type { ReplayBlob } from "./replay-blobs.ts";

const ACTION_CACHE = "/build.bazel.remote.execution.v2.ActionCache";
const FIND_MISSING = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs";
const BYTE_STREAM = "/google.bytestream.ByteStream";
const NOT_FOUND = "5";
const ACTION_BYTES = 144;

/** One call that is ready to be made. */
export interface ReplayCall {
  /** Of blobs. */
  readonly bytes: number;
  /** @throws where the answer is not the one that is due. */
  readonly make: (connection: GrpcConnection) => Promise<void>;
}

/** Encodes calls ahead of time. @param action number of the action that they are made for. */
export function prepareCalls(calls: RecordedCalls, action: number, blobs: readonly ReplayBlob[]): ReplayCall[] {
  const blobsOf = (numbers: readonly number[]): ReplayBlob[] => numbers.flatMap((number) => blobs[number] ?? []);
  const actionField = bytesField(2, actionDigest(action));
  if (calls.kind === "hit") return [unaryCall(`${ACTION_CACHE}/GetActionResult`, actionField, "0")];
  if (calls.kind === "miss") return [unaryCall(`${ACTION_CACHE}/GetActionResult`, actionField, NOT_FOUND)];
  if (calls.kind === "update") {
    const files = blobsOf(calls.files).map((blob, i) => output(2, `file-${i}`, bytesField(2, blob.digest)));
    const trees = blobsOf(calls.trees).map((blob, i) => output(3, `directory-${i}`, bytesField(3, blob.digest)));
    // Standard output comes first.
    const streams = blobsOf(calls.streams).map((blob, i) => bytesField(i === 0 ? 6 : 8, blob.digest));
    const result = bytesField(3, Buffer.concat([...files, ...trees, ...streams]));
    return [unaryCall(`${ACTION_CACHE}/UpdateActionResult`, Buffer.concat([actionField, result]), "0")];
  }
  const named = blobsOf(calls.blobs);
  if (calls.kind === "write") return named.map(writeCall);
  if (calls.kind === "read") return named.map(readCall);
  return [unaryCall(FIND_MISSING, Buffer.concat(named.map((blob) => bytesField(2, blob.digest))), "0")];
}

function writeCall(blob: ReplayBlob): ReplayCall {
  const body = wholeWriteBody(blob.content, blob.hash);
  return {
    bytes: blob.sizeBytes,
    async make(connection) {
      const response = new ByteCollector();
      await connection.call(`${BYTE_STREAM}/Write`, body, response);
      const committed = committedSize(response.bytes);
      if (committed !== blob.sizeBytes) throw new Error(`committed_size ${committed}, expected ${blob.sizeBytes}`);
    },
  };
}

/** Every byte is compared. */
function readCall(blob: ReplayBlob): ReplayCall {
  const request = [[readRequest(blob)]];
  return {
    bytes: blob.sizeBytes,
    async make(connection) {
      const check = new ReadCheck(new BlobCheck(blob, blob.content));
      await connection.call(`${BYTE_STREAM}/Read`, request, check);
      check.end();
    },
  };
}

function unaryCall(path: string, message: Buffer, expectedStatus: string): ReplayCall {
  const request = [[grpcMessage(message)]];
  return {
    bytes: 0,
    make: async (connection) => await connection.call(path, request, new ByteCollector(), expectedStatus),
  };
}

function output(number: number, path: string, digestField: Buffer): Buffer {
  return bytesField(number, Buffer.concat([bytesField(1, Buffer.from(path)), digestField]));
}

function actionDigest(action: number): Buffer {
  return digest({ hash: hash("sha256", `action ${action}`, "hex"), sizeBytes: ACTION_BYTES });
}
