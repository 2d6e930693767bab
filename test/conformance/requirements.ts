import type { Requirement } from "./requirement.ts";
import { actionCacheRequirements } from "./requirements/action-cache.ts";
import { batchRequirements } from "./requirements/batches.ts";
import { readRequirements } from "./requirements/byte-stream-read.ts";
import { writeRequirements } from "./requirements/byte-stream-write.ts";
import { capabilitiesRequirements } from "./requirements/capabilities.ts";
import { compressedBlobRequirements } from "./requirements/compressed-blobs.ts";
import { digestFunctionRequirements } from "./requirements/digest-functions.ts";
import { digestAndNameRequirements } from "./requirements/digests-and-names.ts";
import { findMissingRequirements } from "./requirements/find-missing.ts";
import { getTreeRequirements } from "./requirements/get-tree.ts";
import { remoteAssetRequirements } from "./requirements/remote-asset.ts";
import { splitSpliceRequirements } from "./requirements/split-splice.ts";

/** Every row, in the order of the table. */
export const REQUIREMENTS: readonly Requirement[] = [
  ...capabilitiesRequirements,
  ...digestAndNameRequirements,
  ...writeRequirements,
  ...readRequirements,
  ...compressedBlobRequirements,
  ...batchRequirements,
  ...findMissingRequirements,
  ...getTreeRequirements,
  ...actionCacheRequirements,
  ...splitSpliceRequirements,
  ...remoteAssetRequirements,
  ...digestFunctionRequirements,
];
