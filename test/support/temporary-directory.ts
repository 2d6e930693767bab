import { chmodSync, readdirSync, rmSync, statfsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const TMPFS_MAGIC = 0x01021994;

/** A directory of its own on a file system with a disk behind it: on tmpfs `fdatasync` would cost and prove nothing. */
export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
}

export async function makeTemporaryDirectory(label: string): Promise<TemporaryDirectory> {
  const parent = [tmpdir(), "/var/tmp", process.cwd()].find((candidate) => !isTmpfs(candidate));
  if (parent === undefined) throw new Error("no directory for temporary files that is not on tmpfs");
  const path = await mkdtemp(join(parent, `kura-${label}-`));
  // Also when the process ends early, by an exception or process.exit.
  const removeNow = (): void => rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  process.once("exit", removeNow);
  return {
    path,
    async [Symbol.asyncDispose]() {
      makeWritable(path);
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
      process.removeListener("exit", removeNow);
    },
  };
}

function isTmpfs(path: string): boolean {
  try {
    return statfsSync(path).type === TMPFS_MAGIC;
  } catch {
    return true;
  }
}

/** Build tools write-protect the directories that they make; only a writable one can be emptied (unless by root). */
function makeWritable(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    chmodSync(join(path, entry.name), 0o755);
    makeWritable(join(path, entry.name));
  }
}
