import { totalmem } from "node:os";
import process from "node:process";

/** Bytes of memory that this process may use: what its cgroup allows, or what the machine has. */
export function memoryLimitBytes(): number {
  // Where there is no limit the system says 0, or more than there is.
  const limitBytes = process.constrainedMemory();
  return limitBytes > 0 ? Math.min(limitBytes, totalmem()) : totalmem();
}
