import { expectFailure, expectThat } from "../expectations.ts";
import type { SemVerMessage } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";

const GRPC_MESSAGE_BYTES_MAX = 4 * 1024 * 1024;
const KIB = 1024;

function comparable({ major, minor }: SemVerMessage): number {
  return major * 1_000_000 + minor;
}

export const capabilitiesRequirements: readonly Requirement[] = [
  {
    id: "capabilities.digest-functions",
    level: "MUST",
    what: "at least one digest function is announced, UNKNOWN is not, none twice",
    source: "DigestFunction.Value",
    check: async ({ cache: { digest_functions: functions } }) => {
      const isSound = functions.length > 0 && !functions.includes(0) && new Set(functions).size === functions.length;
      expectThat(isSound, "distinct numbers from 1 up", `[${functions.join()}]`);
    },
  },
  {
    id: "capabilities.versions",
    level: "MUST",
    what: "low_api_version and high_api_version are set, in this order, and version 2 is among them",
    source: "ServerCapabilities",
    check: async ({ capabilities: { low_api_version: low, high_api_version: high } }) => {
      expectThat(low !== null && high !== null, "both versions", `low ${low?.major}, high ${high?.major}`);
      const isSound = comparable(low) <= comparable(high) && low.major <= 2 && high.major >= 2;
      expectThat(isSound, "low <= 2.x <= high", `${low.major}.${low.minor} to ${high.major}.${high.minor}`);
    },
  },
  {
    id: "capabilities.batch-limit",
    level: "SHOULD",
    what: "the batch limit lets a batch fit the 4 MiB that gRPC clients take by default",
    source: "CacheCapabilities.max_batch_total_size_bytes",
    check: async ({ cache: { max_batch_total_size_bytes: bytes } }) => {
      expectThat(bytes > 0 && bytes < GRPC_MESSAGE_BYTES_MAX, "1 byte to less than 4 MiB", `${bytes}`);
    },
  },
  {
    id: "capabilities.symlinks",
    level: "SHOULD",
    what: "it is said whether absolute symlink targets are allowed",
    source: "SymlinkAbsolutePathStrategy.Value",
    check: async ({ cache: { symlink_absolute_path_strategy: strategy } }) => {
      expectThat(strategy === 1 || strategy === 2, "DISALLOWED (1) or ALLOWED (2)", `${strategy}`);
    },
  },
  {
    id: "capabilities.fastcdc-average",
    level: "MUST",
    what: "the average chunk size of FAST_CDC_2020 is between 1 KiB and 1 MiB",
    source: "FastCdc2020Params.avg_chunk_size_bytes",
    offered: ({ cache }) => cache.fast_cdc_2020_params !== null,
    check: async ({ cache }) => {
      const bytes = cache.fast_cdc_2020_params?.avg_chunk_size_bytes ?? 0;
      expectThat(bytes >= KIB && bytes <= KIB * KIB, "1 KiB to 1 MiB", `${bytes}`);
    },
  },
  {
    id: "capabilities.no-execution",
    level: "SHOULD",
    what: "a server that announces no execution answers Execute with UNIMPLEMENTED",
    source: "Capabilities.GetCapabilities",
    offered: ({ capabilities }) => capabilities.execution_capabilities === null,
    check: async (target) => {
      await expectFailure(target.execute({}), "UNIMPLEMENTED");
    },
  },
];
