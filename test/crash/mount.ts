import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * A file system that is mounted until it is disposed of, or this process ends. Only in a mount namespace of our own.
 * @param options What `mount` takes before the mount point.
 * @throws where nothing was mounted: what is done there must not be done to the file system below.
 */
export function mount(mountPoint: string, ...options: string[]): Disposable {
  runProgram("mount", ...options, mountPoint);
  assertMountPoint(mountPoint);
  const detach = (): void => runProgram("umount", "--lazy", mountPoint);
  // Before the directory around it is removed.
  process.prependOnceListener("exit", detach);
  return {
    [Symbol.dispose]() {
      process.removeListener("exit", detach);
      runProgram("umount", mountPoint);
    },
  };
}

export function assertMountPoint(path: string): void {
  if (statSync(path).dev === statSync(dirname(path)).dev) throw new Error(`${path} is not a file system of its own`);
}

export function runProgram(program: string, ...rest: string[]): void {
  execFileSync(program, rest, { stdio: ["ignore", "ignore", "inherit"] });
}
