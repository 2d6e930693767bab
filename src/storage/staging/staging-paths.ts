import { join } from "node:path";
import type { FileSystem } from "../file-system.ts";

/** Names of temp files: the listener's number and a count, never anything that a client sent (H18). */
export function stagingPaths(directory: string, listenerIndex: number): () => string {
  let count = 0;
  return () => {
    count += 1;
    return join(directory, `${prefixOf(listenerIndex)}${count.toString(16).padStart(12, "0")}.tmp`);
  };
}

/** The temp files that are a listener thread's own. */
export function stagingNamesOf(fileSystem: FileSystem, directory: string, listenerIndex: number): string[] {
  return fileSystem.listDirectory(directory).filter((name) => name.startsWith(prefixOf(listenerIndex)));
}

function prefixOf(listenerIndex: number): string {
  return `${listenerIndex.toString(16).padStart(2, "0")}-`;
}
