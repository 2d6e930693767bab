import { readdirSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

/**
 * Bytes that the file system has for `directory`: what is free to this user plus what the directory holds already,
 * so that the answer is the same after a restart with a full cache. The directory need not exist yet.
 * @throws the file system's error where neither the directory nor any parent can be looked at.
 */
export function fileSystemRoomBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(nearestExisting(directory));
  return bavail * bsize + bytesHeldBy(directory);
}

function nearestExisting(directory: string): string {
  const parent = dirname(directory);
  const exists = statSync(directory, { throwIfNoEntry: false }) !== undefined;
  return exists || parent === directory ? directory : nearestExisting(parent);
}

function bytesHeldBy(directory: string): number {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) return 0;
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    // `blocks` counts 512 bytes each, whatever the block size: what the file takes, not how long it is.
    const stat = statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false });
    bytes += (stat?.blocks ?? 0) * 512;
  }
  return bytes;
}
