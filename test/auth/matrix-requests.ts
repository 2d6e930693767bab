import type { Digest } from "../../src/cache/digest.ts";
import { wireDigest } from "../support/cache-client.ts";

/** What an rpc or a route is asked for. */
export interface Asked {
  readonly instanceName: string;
  readonly digest: Digest;
  readonly bytes: Buffer;
}

/** The first request of every rpc under proto/ that is about something in an instance; the others are sent empty. */
export const REQUESTS: Readonly<Record<string, (asked: Asked) => object>> = {
  "/build.bazel.remote.asset.v1.Fetch/FetchBlob": fetchRequest,
  "/build.bazel.remote.asset.v1.Fetch/FetchDirectory": fetchRequest,
  "/build.bazel.remote.asset.v1.Push/PushBlob": (asked) => ({ ...fetchRequest(asked), blob_digest: digest(asked) }),
  "/build.bazel.remote.asset.v1.Push/PushDirectory": (asked) => ({
    ...fetchRequest(asked),
    root_directory_digest: digest(asked),
  }),
  "/build.bazel.remote.execution.v2.ActionCache/GetActionResult": (asked) => ({
    instance_name: asked.instanceName,
    action_digest: digest(asked),
  }),
  "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult": (asked) => ({
    instance_name: asked.instanceName,
    action_digest: digest(asked),
    action_result: { exit_code: 0 },
  }),
  "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities": instanceRequest,
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs": (asked) => ({
    instance_name: asked.instanceName,
    blob_digests: [digest(asked)],
  }),
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs": (asked) => ({
    instance_name: asked.instanceName,
    requests: [{ digest: digest(asked), data: asked.bytes }],
  }),
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs": (asked) => ({
    instance_name: asked.instanceName,
    digests: [digest(asked)],
  }),
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree": (asked) => ({
    instance_name: asked.instanceName,
    root_digest: digest(asked),
  }),
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/SplitBlob": (asked) => ({
    instance_name: asked.instanceName,
    blob_digest: digest(asked),
  }),
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/SpliceBlob": (asked) => ({
    instance_name: asked.instanceName,
    blob_digest: digest(asked),
    chunk_digests: [digest(asked)],
  }),
  "/build.bazel.remote.execution.v2.Execution/Execute": (asked) => ({
    instance_name: asked.instanceName,
    action_digest: digest(asked),
  }),
  "/google.bytestream.ByteStream/Read": (asked) => ({ resource_name: `${asked.instanceName}/${blobPath(asked)}` }),
  "/google.bytestream.ByteStream/Write": (asked) => ({
    resource_name: uploadName(asked),
    finish_write: true,
    data: asked.bytes,
  }),
  "/google.bytestream.ByteStream/QueryWriteStatus": (asked) => ({ resource_name: uploadName(asked) }),
};

function instanceRequest({ instanceName }: Asked): object {
  return { instance_name: instanceName };
}

function fetchRequest({ instanceName, digest: { hash } }: Asked): object {
  return { instance_name: instanceName, uris: [`http://origin.example/${hash}`] };
}

function digest(asked: Asked): object {
  return wireDigest(asked.digest);
}

function blobPath({ digest: { hash, sizeBytes } }: Asked): string {
  return `blobs/${hash}/${sizeBytes}`;
}

function uploadName(asked: Asked): string {
  return `${asked.instanceName}/uploads/5e2a3f9c-0000-4000-8000-000000000000/${blobPath(asked)}`;
}
