import type {
  FetchBlobResponse,
  FetchDirectoryResponse,
  FetchRequest,
  PushBlobRequest,
  PushDirectoryRequest,
  PushResponse,
} from "./asset-messages.ts";
import type {
  QueryWriteStatusRequest,
  QueryWriteStatusResponse,
  ReadRequest,
  ReadResponse,
  WriteRequest,
  WriteResponse,
} from "./byte-stream-messages.ts";
import type { GetCapabilitiesRequest, ServerCapabilities } from "./capabilities-messages.ts";
import type { Encodable } from "./google-messages.ts";
import type { HealthCheckRequest, HealthCheckResponse } from "./health-messages.ts";
import type {
  ActionResult,
  BatchReadBlobsRequest,
  BatchReadBlobsResponse,
  BatchUpdateBlobsRequest,
  BatchUpdateBlobsResponse,
  FindMissingBlobsResponse,
  GetActionResultRequest,
  GetTreeRequest,
  GetTreeResponse,
  SpliceBlobRequest,
  SpliceBlobResponse,
  SplitBlobRequest,
  SplitBlobResponse,
  UpdateActionResultRequest,
} from "./messages.ts";
import { decodeGetActionResultRequest } from "./proto-action-cache-codec.ts";
import {
  batchReadBlobsResponsePieces,
  decodeBatchReadBlobsRequest,
  encodeBatchReadBlobsResponse,
} from "./proto-batch-read-codec.ts";
import {
  decodeReadRequest,
  decodeWriteRequest,
  encodeReadResponse,
  readResponsePieces,
  WriteRequestParts,
} from "./proto-byte-stream-codec.ts";
import { decodeBatchUpdateBlobsRequest, encodeBatchUpdateBlobsResponse } from "./proto-batch-update-codec.ts";
import {
  decodeFindMissingBlobsRequest,
  encodeFindMissingBlobsResponse,
  type FindMissingBlobsRequest,
} from "./proto-find-missing-codec.ts";
import { asBuffer, decodeMessage, serviceDefinition } from "./proto-definitions.ts";
import type { ServerReflectionRequest, ServerReflectionResponse } from "./reflection-messages.ts";
import type {
  BoundMethod,
  ClientStreamHandler,
  DuplexHandler,
  MethodDefinition,
  ServerStreamHandler,
  UnaryHandler,
} from "./transport/handler.ts";

/** A response that is encoded already, such as an action result just as it was stored: sent as it is. */
export class EncodedMessage {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

type Unary<Request, Message> = UnaryHandler<Request, Encodable<Message>>;
type ServerStream<Request, Message> = ServerStreamHandler<Request, Encodable<Message>>;
type ClientStream<Request, Message> = ClientStreamHandler<Request, Encodable<Message>>;
type Duplex<Request, Message> = DuplexHandler<Request, Encodable<Message>>;

interface Reflection {
  ServerReflectionInfo: Duplex<ServerReflectionRequest, ServerReflectionResponse>;
}

/** The handler type of every rpc that Kura may answer, by full service name and rpc name. */
export interface ServiceHandlers {
  "build.bazel.remote.asset.v1.Fetch": {
    FetchBlob: Unary<FetchRequest, FetchBlobResponse>;
    FetchDirectory: Unary<FetchRequest, FetchDirectoryResponse>;
  };
  "build.bazel.remote.asset.v1.Push": {
    PushBlob: Unary<PushBlobRequest, PushResponse>;
    PushDirectory: Unary<PushDirectoryRequest, PushResponse>;
  };
  "build.bazel.remote.execution.v2.ActionCache": {
    GetActionResult: UnaryHandler<GetActionResultRequest, Encodable<ActionResult> | EncodedMessage>;
    UpdateActionResult: UnaryHandler<UpdateActionResultRequest, Encodable<ActionResult> | EncodedMessage>;
  };
  "build.bazel.remote.execution.v2.Capabilities": {
    GetCapabilities: Unary<GetCapabilitiesRequest, ServerCapabilities>;
  };
  "build.bazel.remote.execution.v2.ContentAddressableStorage": {
    FindMissingBlobs: Unary<FindMissingBlobsRequest, FindMissingBlobsResponse>;
    BatchUpdateBlobs: Unary<BatchUpdateBlobsRequest, BatchUpdateBlobsResponse>;
    BatchReadBlobs: Unary<BatchReadBlobsRequest, BatchReadBlobsResponse>;
    GetTree: ServerStream<GetTreeRequest, GetTreeResponse>;
    SplitBlob: Unary<SplitBlobRequest, SplitBlobResponse>;
    SpliceBlob: Unary<SpliceBlobRequest, SpliceBlobResponse>;
  };
  "build.bazel.remote.execution.v2.Execution": {
    Execute: ServerStream<unknown, object>;
    WaitExecution: ServerStream<unknown, object>;
  };
  "google.bytestream.ByteStream": {
    Read: ServerStream<ReadRequest, ReadResponse>;
    Write: ClientStream<WriteRequest, WriteResponse>;
    QueryWriteStatus: Unary<QueryWriteStatusRequest, QueryWriteStatusResponse>;
  };
  "grpc.health.v1.Health": {
    Check: Unary<HealthCheckRequest, HealthCheckResponse>;
    Watch: ServerStream<HealthCheckRequest, HealthCheckResponse>;
  };
  "grpc.reflection.v1.ServerReflection": Reflection;
  "grpc.reflection.v1alpha.ServerReflection": Reflection;
}

/** Codecs that replace those of protobufjs. */
const FAST_CODECS: Record<string, Partial<MethodDefinition<unknown, unknown>>> = {
  "/build.bazel.remote.execution.v2.ActionCache/GetActionResult": {
    decodeRequest: decodeGetActionResultRequest,
    isDecodedWithoutViews: true,
  },
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs": {
    decodeRequest: decodeBatchReadBlobsRequest,
    isDecodedWithoutViews: true,
    encodeResponse: encodeBatchReadBlobsResponse as (response: unknown) => Buffer,
    encodeResponsePieces: batchReadBlobsResponsePieces as (response: unknown) => readonly Buffer[],
  },
  "/google.bytestream.ByteStream/Read": {
    decodeRequest: decodeReadRequest,
    isDecodedWithoutViews: true,
    encodeResponse: encodeReadResponse as (response: unknown) => Buffer,
    encodeResponsePieces: readResponsePieces as (response: unknown) => readonly Buffer[],
    lentBy: (response) => (response as ReadResponse).giveBack,
  },
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs": {
    decodeRequest: decodeFindMissingBlobsRequest,
    encodeResponse: encodeFindMissingBlobsResponse as (response: unknown) => Buffer,
  },
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs": {
    decodeRequest: decodeBatchUpdateBlobsRequest,
    encodeResponse: encodeBatchUpdateBlobsResponse as (response: unknown) => Buffer,
  },
  "/google.bytestream.ByteStream/Write": {
    decodeRequest: decodeWriteRequest,
    partDecoder: () => new WriteRequestParts(),
  },
};

/**
 * Joins handlers with the definitions of their rpcs. An rpc without a handler is not bound: the transport answers it
 * with UNIMPLEMENTED, as any other unknown method.
 */
export function bindService<Name extends keyof ServiceHandlers>(
  name: Name,
  handlers: Partial<ServiceHandlers[Name]>,
): BoundMethod[] {
  const rpcs = serviceDefinition(name);
  return Object.entries(handlers).map(([rpcName, handler]) => {
    const rpc = rpcs[rpcName];
    if (rpc === undefined) throw new TypeError(`proto/ has no rpc ${rpcName} in ${name}`);
    const kind = rpc.requestStream
      ? rpc.responseStream
        ? "duplex"
        : "clientStream"
      : rpc.responseStream
        ? "serverStream"
        : "unary";
    // Sound by `ServiceHandlers`, whose kinds a test holds against the proto files.
    return { kind, definition: methodDefinition(rpc.path, rpc), handler } as BoundMethod;
  });
}

function methodDefinition(
  path: string,
  rpc: ReturnType<typeof serviceDefinition>[string],
): MethodDefinition<unknown, unknown> {
  const messageName = `${path.slice(1)} request`;
  const decode = FAST_CODECS[path]?.decodeRequest ?? rpc.requestDeserialize;
  const encode = FAST_CODECS[path]?.encodeResponse ?? ((response) => rpc.responseSerialize(response as object));
  return {
    // Those that are spelled out below fall back to protobufjs.
    ...FAST_CODECS[path],
    path,
    decodeRequest: (bytes) => decodeMessage(messageName, decode, bytes),
    encodeResponse: (response) => (response instanceof EncodedMessage ? asBuffer(response.bytes) : encode(response)),
  };
}
