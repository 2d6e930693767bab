import { fileURLToPath } from "node:url";
import { type MessageTypeDefinition, type ServiceDefinition, loadSync } from "@grpc/proto-loader";

/** The messages as far as the suite looks into them: absent messages are null, enums and 64-bit integers numbers. */
export interface DigestMessage {
  readonly hash: string;
  readonly size_bytes: number;
}

export interface StatusMessage {
  readonly code: number;
  readonly message: string;
}

export interface SemVerMessage {
  readonly major: number;
  readonly minor: number;
}

export interface ChunkingParams {
  readonly avg_chunk_size_bytes: number;
}

export interface CacheCapabilities {
  readonly digest_functions: readonly number[];
  readonly action_cache_update_capabilities: { readonly update_enabled: boolean } | null;
  readonly max_batch_total_size_bytes: number;
  readonly symlink_absolute_path_strategy: number;
  readonly supported_compressors: readonly number[];
  readonly supported_batch_update_compressors: readonly number[];
  readonly max_cas_blob_size_bytes: number;
  readonly split_blob_support: boolean;
  readonly splice_blob_support: boolean;
  readonly fast_cdc_2020_params: ChunkingParams | null;
}

export interface ServerCapabilities {
  readonly cache_capabilities: CacheCapabilities | null;
  readonly execution_capabilities: object | null;
  readonly low_api_version: SemVerMessage | null;
  readonly high_api_version: SemVerMessage | null;
}

export interface DirectoryMessage {
  readonly files: readonly { readonly name: string; readonly digest: DigestMessage | null }[];
  readonly directories: readonly { readonly name: string; readonly digest: DigestMessage | null }[];
}

export interface ActionResultMessage {
  readonly output_files: readonly {
    readonly path: string;
    readonly digest: DigestMessage | null;
    readonly contents: Buffer;
  }[];
  readonly exit_code: number;
  readonly stdout_raw: Buffer;
  readonly stdout_digest: DigestMessage | null;
}

export interface WriteRequestMessage {
  readonly resource_name?: string;
  readonly write_offset: number;
  readonly finish_write?: boolean;
  readonly data?: Uint8Array;
}

export interface GetTreeResponseMessage {
  readonly directories: readonly DirectoryMessage[];
  readonly next_page_token: string;
}

/** The answer of each rpc that the suite calls; requests are plain objects that leave out what is default. */
export interface Responses {
  GetCapabilities: ServerCapabilities;
  Execute: unknown;
  FindMissingBlobs: { readonly missing_blob_digests: readonly DigestMessage[] };
  BatchUpdateBlobs: {
    readonly responses: readonly { readonly digest: DigestMessage | null; readonly status: StatusMessage | null }[];
  };
  BatchReadBlobs: {
    readonly responses: readonly {
      readonly digest: DigestMessage | null;
      readonly data: Buffer;
      readonly compressor: number;
      readonly status: StatusMessage | null;
    }[];
  };
  GetTree: GetTreeResponseMessage;
  SplitBlob: { readonly chunk_digests: readonly DigestMessage[]; readonly chunking_function: number };
  SpliceBlob: { readonly blob_digest: DigestMessage | null };
  GetActionResult: ActionResultMessage;
  UpdateActionResult: ActionResultMessage;
  Read: { readonly data: Buffer };
  Write: { readonly committed_size: number };
  QueryWriteStatus: { readonly committed_size: number; readonly complete: boolean };
  FetchBlob: {
    readonly status: StatusMessage | null;
    readonly uri: string;
    readonly blob_digest: DigestMessage | null;
  };
  FetchDirectory: {
    readonly status: StatusMessage | null;
    readonly uri: string;
    readonly root_directory_digest: DigestMessage | null;
  };
  PushBlob: object;
  PushDirectory: object;
}

export type RpcName = keyof Responses;

const EXECUTION_PACKAGE = "build.bazel.remote.execution.v2";
const ASSET_PACKAGE = "build.bazel.remote.asset.v1";

const DEFINITIONS = loadSync(
  [
    "build/bazel/remote/execution/v2/remote_execution.proto",
    "build/bazel/remote/asset/v1/remote_asset.proto",
    "google/bytestream/bytestream.proto",
  ],
  {
    includeDirs: [fileURLToPath(new URL("../../proto", import.meta.url))],
    keepCase: true,
    longs: Number,
    enums: Number,
    defaults: true,
    arrays: true,
    objects: true,
  },
);

const SERVICES = [
  `${EXECUTION_PACKAGE}.Capabilities`,
  `${EXECUTION_PACKAGE}.Execution`,
  `${EXECUTION_PACKAGE}.ContentAddressableStorage`,
  `${EXECUTION_PACKAGE}.ActionCache`,
  "google.bytestream.ByteStream",
  `${ASSET_PACKAGE}.Fetch`,
  `${ASSET_PACKAGE}.Push`,
] as const;

const RPCS: ServiceDefinition = Object.assign({}, ...SERVICES.map((name) => DEFINITIONS[name]));

/** How a call of one rpc looks on the wire. */
export interface RpcDefinition<Response> {
  readonly path: string;
  readonly encode: (request: object) => Buffer;
  readonly decode: (bytes: Buffer) => Response;
}

export function rpcDefinition<Name extends RpcName>(name: Name): RpcDefinition<Responses[Name]> {
  const rpc = RPCS[name];
  if (rpc === undefined) throw new Error(`proto/ has no rpc ${name}`);
  return {
    path: rpc.path,
    encode: rpc.requestSerialize,
    decode: (bytes) => rpc.responseDeserialize(bytes) as Responses[Name],
  };
}

/** @param name of a message of the Remote Execution API, such as `Directory`. */
export function encodeMessage(name: "Action" | "Command" | "Directory" | "Tree", message: object): Buffer {
  const definition = DEFINITIONS[`${EXECUTION_PACKAGE}.${name}`];
  if (definition === undefined || !("format" in definition)) throw new Error(`proto/ has no message ${name}`);
  return (definition as MessageTypeDefinition<object, object>).serialize(message);
}

export const COMPRESSORS = { identity: 0, zstd: 1, deflate: 2, brotli: 3 } as const;
export const CHUNKING_FUNCTIONS = { unknown: 0, fastCdc2020: 1 } as const;
