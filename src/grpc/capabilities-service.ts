import type { Caller } from "../auth/caller.ts";
import { CHUNKING_FUNCTIONS, type Chunking } from "../cache/chunking/chunking.ts";
import { DIGEST_FUNCTIONS } from "../cache/digest.ts";
import type { FastCdc2020Params, RepMaxCdcParams, SemVer, ServerCapabilities } from "./capabilities-messages.ts";
import { COMPRESSORS } from "./messages.ts";
import { bindService } from "./proto-services.ts";
import type { BoundMethod } from "./transport/handler.ts";

/**
 * Announced `max_batch_total_size_bytes`: under the 4 MiB at which gRPC clients refuse a message, less room for what
 * surrounds the blobs. 0 ("no limit") breaks clients that take it literally (BEHAVIOUR 4).
 */
export const BATCH_TOTAL_BYTES_MAX = 4 * 1024 * 1024 - 64 * 1024;

export interface CapabilitiesOptions {
  /** Largest blob that is taken; left out: no limit but the store's size. */
  readonly blobBytesMax?: number | undefined;
  /** How SplitBlob splits. Default: it is not there, nor is SpliceBlob. */
  readonly chunkings?: readonly Chunking[];
}

const LOW_API_VERSION: SemVer = { major: 2, minor: 0, patch: 0, prerelease: "" };
const HIGH_API_VERSION: SemVer = { major: 2, minor: 12, patch: 0, prerelease: "" };

/** `SymlinkAbsolutePathStrategy.ALLOWED`: targets are the clients' affair, none is ever followed here. */
const ABSOLUTE_SYMLINKS_ALLOWED = 2;

/** Announces exactly what is implemented and allowed to the caller (BEHAVIOUR 6). `execution_capabilities` is absent: this is a cache. */
export function capabilitiesService({ blobBytesMax = 0, chunkings = [] }: CapabilitiesOptions): BoundMethod[] {
  const implemented = {
    digest_functions: Object.values(DIGEST_FUNCTIONS).map(({ number }) => number),
    cache_priority_capabilities: null,
    max_batch_total_size_bytes: BATCH_TOTAL_BYTES_MAX,
    symlink_absolute_path_strategy: ABSOLUTE_SYMLINKS_ALLOWED,
    // Besides identity, which goes without saying.
    supported_compressors: [COMPRESSORS.zstd],
    supported_batch_update_compressors: [COMPRESSORS.zstd],
    max_cas_blob_size_bytes: blobBytesMax,
    split_blob_support: chunkings.length > 0,
    fast_cdc_2020_params: fastCdcParams(chunkings),
    rep_max_cdc_params: repMaxCdcParams(chunkings),
  };
  const capabilitiesOf = (caller: Caller, instanceName: string): ServerCapabilities => ({
    cache_capabilities: {
      ...implemented,
      action_cache_update_capabilities: { update_enabled: caller.has("ac-writer", instanceName) },
      splice_blob_support: chunkings.length > 0 && caller.has("cas-writer", instanceName),
    },
    execution_capabilities: null,
    deprecated_api_version: null,
    low_api_version: LOW_API_VERSION,
    high_api_version: HIGH_API_VERSION,
  });
  return bindService("build.bazel.remote.execution.v2.Capabilities", {
    GetCapabilities: ({ instance_name }, { caller }) => capabilitiesOf(caller, instance_name),
  });
}

function fastCdcParams(chunkings: readonly Chunking[]): FastCdc2020Params | null {
  const chunking = chunkings.find((offered) => offered.function === CHUNKING_FUNCTIONS.fastCdc2020);
  return chunking === undefined
    ? null
    : { avg_chunk_size_bytes: chunking.parameters.avgBytes, seed: chunking.parameters.seed };
}

function repMaxCdcParams(chunkings: readonly Chunking[]): RepMaxCdcParams | null {
  const chunking = chunkings.find((offered) => offered.function === CHUNKING_FUNCTIONS.repMaxCdc);
  return chunking === undefined
    ? null
    : {
        min_chunk_size_bytes: chunking.parameters.minBytes,
        horizon_size_bytes: chunking.parameters.horizonBytes,
      };
}
