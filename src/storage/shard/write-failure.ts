import type { CacheErrorCode } from "../../cache/cache-error.ts";
import { errorCode, type FileSystem } from "../file-system.ts";

export function removeQuietly(fileSystem: FileSystem, path: string): void {
  try {
    fileSystem.remove(path);
  } catch {
    // A staging file that cannot be removed now is removed at the next start.
  }
}

/** What a client is told of a failed write: full disks are named as such, anything else is ours to look into. */
export function writeFailure(error: unknown): { code: CacheErrorCode; message: string } {
  const code = errorCode(error);
  if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") {
    return { code: "storage_full", message: "the disk is full" };
  }
  return { code: "unavailable", message: `the blob could not be made durable (${code ?? String(error)})` };
}
