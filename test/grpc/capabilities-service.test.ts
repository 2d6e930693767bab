import { expect, test } from "vitest";
import { CHUNKINGS } from "../../src/cache/chunking/chunking.ts";
import { type CapabilitiesOptions, capabilitiesService } from "../../src/grpc/capabilities-service.ts";
import { serveMethods, serviceClient } from "./service-client.ts";

async function capabilities(options: CapabilitiesOptions): Promise<unknown> {
  const client = await serveMethods(capabilitiesService(options));
  return serviceClient(client, "build.bazel.remote.execution.v2.Capabilities").unary("GetCapabilities", {
    instance_name: "main",
  });
}

test("what is implemented is announced, and nothing else", async () => {
  expect(await capabilities({})).toEqual({
    cache_capabilities: {
      digest_functions: [1, 2, 3, 5, 6, 8, 9, 10],
      action_cache_update_capabilities: { update_enabled: true },
      cache_priority_capabilities: null,
      max_batch_total_size_bytes: 4_128_768,
      symlink_absolute_path_strategy: 2,
      supported_compressors: [1],
      supported_batch_update_compressors: [1],
      max_cas_blob_size_bytes: 0,
      split_blob_support: false,
      splice_blob_support: false,
      fast_cdc_2020_params: null,
      rep_max_cdc_params: null,
    },
    execution_capabilities: null,
    deprecated_api_version: null,
    low_api_version: { major: 2, minor: 0, patch: 0, prerelease: "" },
    high_api_version: { major: 2, minor: 12, patch: 0, prerelease: "" },
  });
});

test("a limit on the size of blobs is announced", async () => {
  expect(await capabilities({ blobBytesMax: 5 * 2 ** 30 })).toMatchObject({
    cache_capabilities: { max_cas_blob_size_bytes: 5 * 2 ** 30 },
  });
});

test("split and splice are announced with the parameters of each chunking function", async () => {
  expect(await capabilities({ chunkings: CHUNKINGS })).toMatchObject({
    cache_capabilities: {
      split_blob_support: true,
      splice_blob_support: true,
      fast_cdc_2020_params: { avg_chunk_size_bytes: 512 * 1024, seed: 0 },
      rep_max_cdc_params: { min_chunk_size_bytes: 256 * 1024, horizon_size_bytes: 2048 * 1024 },
    },
  });
});
