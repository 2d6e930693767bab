import { readFileSync } from "node:fs";

export const BOOT_ID_BYTES = 16;
const BOOT_ID_PATH = "/proc/sys/kernel/random/boot_id";

/**
 * What the running kernel was given at its start. As long as it is the same, whatever a write has put into a file is
 * there, however the process that wrote ended. @returns undefined where the system has no such thing.
 */
export function readBootId(): Buffer | undefined {
  try {
    const id = Buffer.from(readFileSync(BOOT_ID_PATH, "latin1").replaceAll("-", "").trim(), "hex");
    return id.length === BOOT_ID_BYTES ? id : undefined;
  } catch {
    return undefined;
  }
}
