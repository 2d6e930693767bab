import type { Digest } from "../../src/grpc/messages.ts";
import { serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import { decodeFindMissingBlobsRequest, type EncodedDigests } from "../../src/grpc/proto-find-missing-codec.ts";

const { FindMissingBlobs } = serviceDefinition("build.bazel.remote.execution.v2.ContentAddressableStorage");

/** Digests as a client sends them, encoded by protobufjs. */
export function encodedDigests(blob_digests: readonly Digest[]): EncodedDigests {
  return decodeFindMissingBlobsRequest(FindMissingBlobs!.requestSerialize({ blob_digests })).blob_digests;
}
