/** Messages of the `Capabilities` service, decoded as described in `google-messages.ts`. */
import type { DigestFunctionNumber } from "./messages.ts";

export interface GetCapabilitiesRequest {
  instance_name: string;
}

export interface ServerCapabilities {
  cache_capabilities: CacheCapabilities | null;
  execution_capabilities: ExecutionCapabilities | null;
  deprecated_api_version: SemVer | null;
  low_api_version: SemVer | null;
  high_api_version: SemVer | null;
}

/** `build.bazel.semver.SemVer` */
export interface SemVer {
  major: number;
  minor: number;
  patch: number;
  prerelease: string;
}

export interface CacheCapabilities {
  digest_functions: DigestFunctionNumber[];
  action_cache_update_capabilities: ActionCacheUpdateCapabilities | null;
  cache_priority_capabilities: PriorityCapabilities | null;
  /** Of all blobs of one batch call together; 0: no limit but that of gRPC messages. */
  max_batch_total_size_bytes: number;
  /** `SymlinkAbsolutePathStrategy.Value` */
  symlink_absolute_path_strategy: number;
  /** `Compressor.Value`, for ByteStream; identity need not be listed. */
  supported_compressors: number[];
  /** `Compressor.Value`, for BatchUpdateBlobs. */
  supported_batch_update_compressors: number[];
  /** 0: no limit. */
  max_cas_blob_size_bytes: number;
  split_blob_support: boolean;
  splice_blob_support: boolean;
  fast_cdc_2020_params: FastCdc2020Params | null;
  rep_max_cdc_params: RepMaxCdcParams | null;
}

export interface ActionCacheUpdateCapabilities {
  update_enabled: boolean;
}

export interface PriorityCapabilities {
  priorities: PriorityRange[];
}

/** `PriorityCapabilities.PriorityRange`, both ends included. */
export interface PriorityRange {
  min_priority: number;
  max_priority: number;
}

export interface FastCdc2020Params {
  avg_chunk_size_bytes: number;
  seed: number;
}

export interface RepMaxCdcParams {
  min_chunk_size_bytes: number;
  horizon_size_bytes: number;
}

export interface ExecutionCapabilities {
  digest_function: DigestFunctionNumber;
  exec_enabled: boolean;
  execution_priority_capabilities: PriorityCapabilities | null;
  supported_node_properties: string[];
  digest_functions: DigestFunctionNumber[];
}
