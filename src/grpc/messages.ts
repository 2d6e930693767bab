/** Messages of `build.bazel.remote.execution.v2`, decoded as described in `google-messages.ts`. */
import type { Any, Duration, Status, Timestamp, UInt32Value } from "./google-messages.ts";

/** `DigestFunction.Value` by number; what the numbers mean to the cache is in `cache/digest.ts`. */
export type DigestFunctionNumber = number;

/** `Compressor.Value` */
export const COMPRESSORS = { identity: 0, zstd: 1, deflate: 2, brotli: 3 } as const;

/** A digest as a client sent it: unchecked. `parseDigest` turns it into a `Digest` of the domain. */
export interface Digest {
  hash: string;
  size_bytes: number;
}

// Content-addressable storage

export interface FindMissingBlobsResponse {
  missing_blob_digests: Digest[];
}

export interface BatchUpdateBlobsRequest {
  instance_name: string;
  requests: BatchUpdateBlobsRequestEntry[];
  digest_function: DigestFunctionNumber;
}

/** `BatchUpdateBlobsRequest.Request` */
export interface BatchUpdateBlobsRequestEntry {
  digest: Digest | null;
  /** A view of the message as it was received: whoever keeps it copies it. */
  data: Buffer;
  /** See {@link COMPRESSORS}. */
  compressor: number;
}

export interface BatchUpdateBlobsResponse {
  responses: BatchUpdateBlobsResponseEntry[];
}

/** `BatchUpdateBlobsResponse.Response` */
export interface BatchUpdateBlobsResponseEntry {
  digest: Digest | null;
  status: Status | null;
}

export interface BatchReadBlobsRequest {
  instance_name: string;
  digests: Digest[];
  /** See {@link COMPRESSORS}; identity is always acceptable. */
  acceptable_compressors: number[];
  digest_function: DigestFunctionNumber;
}

export interface BatchReadBlobsResponse {
  responses: BatchReadBlobsResponseEntry[];
}

/** `BatchReadBlobsResponse.Response` */
export interface BatchReadBlobsResponseEntry {
  digest: Digest | null;
  data: Buffer;
  /** See {@link COMPRESSORS}. */
  compressor: number;
  status: Status | null;
}

export interface GetTreeRequest {
  instance_name: string;
  root_digest: Digest | null;
  /** 0: as many as the server likes. */
  page_size: number;
  page_token: string;
  digest_function: DigestFunctionNumber;
}

export interface GetTreeResponse {
  directories: Directory[];
  /** Empty on the last page. */
  next_page_token: string;
}

export interface SplitBlobRequest {
  instance_name: string;
  blob_digest: Digest | null;
  digest_function: DigestFunctionNumber;
  /** `ChunkingFunction.Value`: a wish. */
  chunking_function: number;
}

export interface SplitBlobResponse {
  chunk_digests: Digest[];
  /** `ChunkingFunction.Value`: what has made them. */
  chunking_function: number;
}

export interface SpliceBlobRequest {
  instance_name: string;
  blob_digest: Digest | null;
  chunk_digests: Digest[];
  digest_function: DigestFunctionNumber;
  /** `ChunkingFunction.Value` */
  chunking_function: number;
}

export interface SpliceBlobResponse {
  blob_digest: Digest | null;
}

// Directories

export interface Directory {
  files: FileNode[];
  directories: DirectoryNode[];
  symlinks: SymlinkNode[];
  node_properties: NodeProperties | null;
}

export interface FileNode {
  name: string;
  digest: Digest | null;
  is_executable: boolean;
  node_properties: NodeProperties | null;
}

export interface DirectoryNode {
  name: string;
  /** Of the encoded child {@link Directory}. */
  digest: Digest | null;
}

export interface SymlinkNode {
  name: string;
  target: string;
  node_properties: NodeProperties | null;
}

export interface NodeProperties {
  properties: NodeProperty[];
  mtime: Timestamp | null;
  unix_mode: UInt32Value | null;
}

export interface NodeProperty {
  name: string;
  value: string;
}

/** A whole directory tree in one blob. */
export interface Tree {
  root: Directory | null;
  /** Every directory below the root, each once, found by the digest of its encoding. */
  children: Directory[];
}

// Action cache

export interface GetActionResultRequest {
  instance_name: string;
  action_digest: Digest | null;
  inline_stdout: boolean;
  inline_stderr: boolean;
  /** Paths as in `OutputFile.path`. */
  inline_output_files: string[];
  digest_function: DigestFunctionNumber;
}

export interface UpdateActionResultRequest {
  instance_name: string;
  action_digest: Digest | null;
  action_result: ActionResult | null;
  results_cache_policy: ResultsCachePolicy | null;
  digest_function: DigestFunctionNumber;
}

export interface ResultsCachePolicy {
  priority: number;
}

export interface ActionResult {
  output_files: OutputFile[];
  output_file_symlinks: OutputSymlink[];
  output_symlinks: OutputSymlink[];
  output_directories: OutputDirectory[];
  output_directory_symlinks: OutputSymlink[];
  exit_code: number;
  stdout_raw: Buffer;
  stdout_digest: Digest | null;
  stderr_raw: Buffer;
  stderr_digest: Digest | null;
  execution_metadata: ExecutedActionMetadata | null;
}

export interface OutputFile {
  path: string;
  digest: Digest | null;
  is_executable: boolean;
  /** The file inlined; empty also where it is not. */
  contents: Buffer;
  node_properties: NodeProperties | null;
}

export interface OutputDirectory {
  path: string;
  /** Of an encoded {@link Tree}. */
  tree_digest: Digest | null;
  is_topologically_sorted: boolean;
  /** Of the encoded {@link Directory} at the root. */
  root_directory_digest: Digest | null;
}

export interface OutputSymlink {
  path: string;
  target: string;
  node_properties: NodeProperties | null;
}

export interface ExecutedActionMetadata {
  worker: string;
  queued_timestamp: Timestamp | null;
  worker_start_timestamp: Timestamp | null;
  worker_completed_timestamp: Timestamp | null;
  input_fetch_start_timestamp: Timestamp | null;
  input_fetch_completed_timestamp: Timestamp | null;
  execution_start_timestamp: Timestamp | null;
  execution_completed_timestamp: Timestamp | null;
  virtual_execution_duration: Duration | null;
  output_upload_start_timestamp: Timestamp | null;
  output_upload_completed_timestamp: Timestamp | null;
  auxiliary_metadata: Any[];
}

// Who calls

/** Sent by clients in the header `build.bazel.remote.execution.v2.requestmetadata-bin`. */
export interface RequestMetadata {
  tool_details: ToolDetails | null;
  action_id: string;
  tool_invocation_id: string;
  correlated_invocations_id: string;
  action_mnemonic: string;
  target_id: string;
  configuration_id: string;
}

export interface ToolDetails {
  tool_name: string;
  tool_version: string;
}
