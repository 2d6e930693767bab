import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DirectoryLock } from "../../src/storage/directory-lock.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";

const LOCK_HOLDER = fileURLToPath(new URL("../support/lock-holder.ts", import.meta.url));
let directory: TemporaryDirectory;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("lock");
});
afterEach(() => directory[Symbol.asyncDispose]());

const acquire = (): DirectoryLock => DirectoryLock.acquire(directory.path);

async function startHolder(): Promise<ChildProcess> {
  const holder = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", LOCK_HOLDER, directory.path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await Promise.race([once(holder.stdout, "data"), once(holder, "exit")])) as [Buffer];
  expect(String(line).trim()).toBe("locked");
  return holder;
}

async function kill(holder: ChildProcess): Promise<void> {
  if (holder.exitCode !== null || holder.signalCode !== null) return;
  const exited = once(holder, "exit");
  holder.kill("SIGKILL");
  await exited;
}

test("a second holder in the same process is refused in one line that names the directory", () => {
  using lock = acquire();
  expect(lock).toBeDefined();
  expect(acquire).toThrow(
    expect.objectContaining({
      name: "CacheError",
      code: "failed_precondition",
      message: `${directory.path} is in use by another Kura process`,
    }),
  );
});

test("the refused attempt does not loosen the lock", () => {
  using lock = acquire();
  expect(lock).toBeDefined();
  for (let i = 0; i < 3; i += 1) expect(acquire).toThrow("in use");
});

test("it can be taken again once it is let go", () => {
  for (let i = 0; i < 3; i += 1) acquire()[Symbol.dispose]();
  acquire()[Symbol.dispose]();
  expect(acquire).not.toThrow();
});

test("H23: another process is refused for as long as the holder lives, and takes over once that is killed", async () => {
  const holder = await startHolder();
  try {
    expect(acquire).toThrow("in use");
    expect(acquire).toThrow("in use");
  } finally {
    await kill(holder);
  }
  using lock = acquire();
  expect(lock).toBeDefined();
});

test("a lock file that is not ours is told as such, and not as another process", () => {
  writeFileSync(join(directory.path, "lock"), "something else altogether\n".repeat(100));
  expect(acquire).toThrow(expect.objectContaining({ name: "CacheError", code: "failed_precondition" }));
  expect(acquire).not.toThrow("in use");
});

test("a directory that cannot be written is told as such", () => {
  expect(() => DirectoryLock.acquire(join(directory.path, "missing"))).toThrow(
    expect.objectContaining({ name: "CacheError", code: "failed_precondition" }),
  );
});
