import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EarlySyncs } from "../../../src/storage/staging/early-syncs.ts";
import { StagingFile } from "../../../src/storage/staging/staging-file.ts";
import { FaultyFileSystem } from "../../support/faulty-file-system.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";

const MIB = 1024 * 1024;
let directory: TemporaryDirectory;
let fileSystem: FaultyFileSystem;
let earlySyncs: EarlySyncs;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("early-syncs");
  fileSystem = new FaultyFileSystem();
  earlySyncs = new EarlySyncs(fileSystem, 4 * MIB);
});
afterEach(() => directory[Symbol.asyncDispose]());

const create = (name: string): Promise<StagingFile> =>
  StagingFile.create(fileSystem, join(directory.path, name), 0, { bufferBytes: 256 * 1024, earlySyncs });

async function writeMebibytes(file: StagingFile, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await file.write(Buffer.alloc(MIB, i));
}

describe("early syncs of a temp file", () => {
  test("one for every 4 MiB at the most while more arrives; the descriptor is closed once the last one is done", async () => {
    fileSystem.delayTurns = 1;
    const file = await create("a");
    await writeMebibytes(file, 13);
    await file.finish();
    const syncCount = fileSystem.history("syncDataAsync").length;
    // How many of them depends on how long the disk takes.
    expect(syncCount).toBeGreaterThanOrEqual(1);
    expect(syncCount).toBeLessThanOrEqual(3);
    expect(fileSystem.calls.at(-1)?.name).toBe("closeAsync");
    expect(fileSystem.openFiles).toEqual([]);
  });

  test("none below 4 MiB, and none where the file is to be copied", async () => {
    const small = await create("small");
    await writeMebibytes(small, 3);
    await small.finish();
    const copied = await StagingFile.create(fileSystem, join(directory.path, "copied"), 0, { bufferBytes: 256 * 1024 });
    await writeMebibytes(copied, 9);
    await copied.finish();
    expect(fileSystem.history("syncDataAsync")).toEqual([]);
  });

  test("H5: a failed one fails the upload, though a later sync of the file would succeed", async () => {
    fileSystem.failOnce(({ name }) => name === "syncDataAsync", "EIO");
    const file = await create("a");
    const upload = writeMebibytes(file, 9).then(() => file.finish());
    await expect(upload).rejects.toMatchObject({ code: "EIO" });
    await file.discard();
    expect(fileSystem.openFiles).toEqual([]);
  });

  test("one file at a time", async () => {
    // Before the first one begins, which may be over whenever something else is waited for.
    const [firstFd, fd] = await Promise.all(
      ["a", "b"].map((name) => fileSystem.openAsync(join(directory.path, name), "create")),
    );
    const first = earlySyncs.tryStart(firstFd!);
    expect(first).toBeDefined();
    expect(earlySyncs.tryStart(fd!)).toBeUndefined();
    await first;
    await expect(earlySyncs.tryStart(fd!)).resolves.toBeUndefined();
  });

  test("after a failed one others have their turn", async () => {
    const fd = await fileSystem.openAsync(join(directory.path, "a"), "create");
    fileSystem.failOnce(({ name }) => name === "syncDataAsync", "EIO");
    await expect(earlySyncs.tryStart(fd)).rejects.toMatchObject({ code: "EIO" });
    await expect(earlySyncs.tryStart(fd)).resolves.toBeUndefined();
  });
});
