import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";

/**
 * The environment of worker threads: nothing but where compiled modules are kept. A thread that finds its modules there
 * does not load Node's compiler of TypeScript, which is 10 MiB a thread.
 */
export function workerEnvironment(): NodeJS.ProcessEnv {
  // That of this version of Node, in the directory that was asked for.
  const directory = getCompileCacheDir();
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: dirname(directory) };
}
