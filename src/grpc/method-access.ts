import type { Role } from "../auth/role.ts";
import type { ServiceHandlers } from "./proto-services.ts";

/** What a caller needs in order to be answered by an rpc. */
export interface MethodAccess {
  /** `none`: anybody is answered. */
  readonly role: Role;
  /** The field of the first request that tells the instance; left out: the rpc concerns none. */
  readonly instanceIn?: "instance_name" | "resource_name";
}

const OPEN: MethodAccess = { role: "none" };
const READ: MethodAccess = { role: "reader", instanceIn: "instance_name" };
const WRITE_BLOBS: MethodAccess = { role: "cas-writer", instanceIn: "instance_name" };
const WRITE_ACTIONS: MethodAccess = { role: "ac-writer", instanceIn: "instance_name" };
const READER: MethodAccess = { role: "reader" };

const ACCESS = {
  // What a URI stands for is believed as an action result is.
  "build.bazel.remote.asset.v1.Fetch": { FetchBlob: READ, FetchDirectory: READ },
  "build.bazel.remote.asset.v1.Push": { PushBlob: WRITE_ACTIONS, PushDirectory: WRITE_ACTIONS },
  "build.bazel.remote.execution.v2.ActionCache": { GetActionResult: READ, UpdateActionResult: WRITE_ACTIONS },
  "build.bazel.remote.execution.v2.Capabilities": { GetCapabilities: READ },
  "build.bazel.remote.execution.v2.ContentAddressableStorage": {
    FindMissingBlobs: READ,
    BatchUpdateBlobs: WRITE_BLOBS,
    BatchReadBlobs: READ,
    GetTree: READ,
    SplitBlob: READ,
    SpliceBlob: WRITE_BLOBS,
  },
  "build.bazel.remote.execution.v2.Execution": { Execute: READ, WaitExecution: READER },
  "google.bytestream.ByteStream": {
    Read: { role: "reader", instanceIn: "resource_name" },
    Write: { role: "cas-writer", instanceIn: "resource_name" },
    // It tells how far an upload is, which concerns those who upload.
    QueryWriteStatus: { role: "cas-writer", instanceIn: "resource_name" },
  },
  "grpc.health.v1.Health": { Check: OPEN, Watch: OPEN },
  "grpc.reflection.v1.ServerReflection": { ServerReflectionInfo: READER },
  "grpc.reflection.v1alpha.ServerReflection": { ServerReflectionInfo: READER },
} as const satisfies { [Service in keyof ServiceHandlers]: Record<keyof ServiceHandlers[Service], MethodAccess> };

/** By path: `/package.Service/Method`. */
const METHOD_ACCESS: ReadonlyMap<string, MethodAccess> = new Map(
  Object.entries(ACCESS).flatMap(([service, rpcs]) =>
    Object.entries<MethodAccess>(rpcs).map(([rpc, access]) => [`/${service}/${rpc}`, access]),
  ),
);

/** @throws where the table lacks the rpc: nothing is served that nobody has thought about. */
export function accessOf(path: string): MethodAccess {
  const access = METHOD_ACCESS.get(path);
  if (access === undefined) throw new TypeError(`src/grpc/method-access.ts has no entry for ${path}`);
  return access;
}
