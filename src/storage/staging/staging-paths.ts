import { join } from "node:path";
import { type FileSystem, removeQuietly } from "../file-system.ts";

/** Names of temp files: the listener's number and a count, never anything that a client sent (H18). */
export function stagingPaths(directory: string, listenerIndex: number): () => string {
  let count = 0;
  return () => {
    count += 1;
    return join(directory, `${prefixOf(listenerIndex)}${count.toString(16).padStart(12, "0")}.tmp`);
  };
}

/** Removes what a listener thread that has ended has left; nothing in it was acknowledged. */
export function clearStagingOf(fileSystem: FileSystem, directory: string, listenerIndex: number): void {
  for (const name of fileSystem.listDirectory(directory)) {
    if (name.startsWith(prefixOf(listenerIndex))) removeQuietly(fileSystem, join(directory, name));
  }
}

function prefixOf(listenerIndex: number): string {
  return `${listenerIndex.toString(16).padStart(2, "0")}-`;
}
