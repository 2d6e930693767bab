import { fileURLToPath } from "node:url";
import {
  loadSync,
  type MessageTypeDefinition,
  type PackageDefinition,
  type ServiceDefinition,
} from "@grpc/proto-loader";
import { CacheError } from "../cache/cache-error.ts";
import type { BadRequest, Encodable, RetryInfo, Status } from "./google-messages.ts";
import type { ActionResult, BatchUpdateBlobsResponse, Directory, RequestMetadata, Tree } from "./messages.ts";

const PROTO_DIRECTORY = fileURLToPath(new URL("../../proto/", import.meta.url));

const PROTO_FILES = [
  "build/bazel/remote/asset/v1/remote_asset.proto",
  "build/bazel/remote/execution/v2/remote_execution.proto",
  "build/bazel/remote/logstream/v1/remote_logstream.proto",
  "build/bazel/semver/semver.proto",
  "google/bytestream/bytestream.proto",
  "google/longrunning/operations.proto",
  "google/rpc/error_details.proto",
  "google/rpc/status.proto",
  "grpc/health/v1/health.proto",
  "grpc/reflection/v1/reflection.proto",
  "grpc/reflection/v1alpha/reflection.proto",
];

/** Everything under `proto/`, by full name. Loaded once, when this module is: about 50 ms. */
export const PROTO_PACKAGES: PackageDefinition = loadSync(PROTO_FILES, {
  includeDirs: [PROTO_DIRECTORY],
  keepCase: true,
  longs: Number,
  enums: Number,
  defaults: true,
  arrays: true,
  objects: true,
  oneofs: true,
});

/** Turns messages of one type into bytes and back. */
export interface MessageCodec<Message> {
  encode(message: Encodable<Message>): Buffer;
  /**
   * Unknown fields are skipped. Values of type `bytes` may be views of `bytes`.
   * @throws {CacheError} invalid_argument where `bytes` is not an encoding of such a message.
   */
  decode(bytes: Uint8Array): Message;
}

/** @param name full name of a message under `proto/`; the caller vouches for `Message` being its shape. */
function messageCodec<Message>(name: string): MessageCodec<Message> {
  const definition = PROTO_PACKAGES[name] as MessageTypeDefinition<object, object>;
  return {
    encode: (message) => definition.serialize(message),
    decode: (bytes) => decodeMessage(name, definition.deserialize, asBuffer(bytes)) as Message,
  };
}

export const actionResultCodec = messageCodec<ActionResult>("build.bazel.remote.execution.v2.ActionResult");
export const batchUpdateBlobsResponseCodec = messageCodec<BatchUpdateBlobsResponse>(
  "build.bazel.remote.execution.v2.BatchUpdateBlobsResponse",
);
export const badRequestCodec = messageCodec<BadRequest>("google.rpc.BadRequest");
export const directoryCodec = messageCodec<Directory>("build.bazel.remote.execution.v2.Directory");
export const requestMetadataCodec = messageCodec<RequestMetadata>("build.bazel.remote.execution.v2.RequestMetadata");
export const retryInfoCodec = messageCodec<RetryInfo>("google.rpc.RetryInfo");
export const statusCodec = messageCodec<Status>("google.rpc.Status");
export const treeCodec = messageCodec<Tree>("build.bazel.remote.execution.v2.Tree");

/** The rpcs of a service by their names in the proto file. @param name full name of a service under `proto/`. */
export function serviceDefinition(name: string): ServiceDefinition {
  return PROTO_PACKAGES[name] as ServiceDefinition;
}

/** Runs a decoder over bytes that came from outside. @throws {CacheError} invalid_argument naming the message. */
export function decodeMessage<Message>(name: string, decode: (bytes: Buffer) => Message, bytes: Buffer): Message {
  try {
    return decode(bytes);
  } catch (error) {
    const reason = error instanceof Error ? error.message : "undecodable";
    throw new CacheError(
      "invalid_argument",
      `${name}: expected an encoded message, got ${bytes.length} bytes: ${reason}`,
      {
        cause: error,
      },
    );
  }
}

/** The same bytes as a `Buffer`, without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
