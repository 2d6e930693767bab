import { mkdirSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { fileSystemRoomBytes } from "../../src/config/file-system-room.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";

it("counts what the data directory holds as room, so that a full cache keeps its size after a restart", async () => {
  await using directory = await makeTemporaryDirectory("room");
  mkdirSync(join(directory.path, "segments"));
  const heldBytes = 64 * 1024 * 1024;
  writeFileSync(join(directory.path, "segments", "held"), Buffer.alloc(heldBytes, 1), { flush: true });
  const { bavail, bsize } = statfsSync(directory.path);
  const roomBytes = fileSystemRoomBytes(directory.path);
  // Half of it: others use the same disk at the same moment.
  expect(roomBytes - bavail * bsize).toBeGreaterThan(heldBytes / 2);
});

it("looks at the file system of the nearest parent where the directory does not exist yet", async () => {
  await using directory = await makeTemporaryDirectory("room");
  expect(fileSystemRoomBytes(join(directory.path, "not", "there", "yet"))).toBeGreaterThan(0);
});
