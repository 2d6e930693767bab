import type { CacheErrorCode } from "../../cache/cache-error.ts";
import { errorCode } from "../file-system.ts";

/** Whether a write or a sync failed for want of room: writes resume when there is some again (HAZARDS H7). */
export function isDiskFull(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG";
}

/** What a client is told of a failed write: full disks are named as such, anything else is ours to look into. */
export function writeFailure(error: unknown): { code: CacheErrorCode; message: string } {
  if (isDiskFull(error)) return { code: "storage_full", message: "the disk is full" };
  const code = errorCode(error);
  return { code: "unavailable", message: `the blob could not be made durable (${code ?? String(error)})` };
}
