import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { StagingFile } from "../../../src/storage/staging/staging-file.ts";
import { FaultyFileSystem } from "../../support/faulty-file-system.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";

const random = seededRandom(testSeed("StagingFile"));
const OFFSET = 144;
const BUFFER_BYTES = 1000;
let directory: TemporaryDirectory;
let path: string;
let fileSystem: FaultyFileSystem;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("staging-file");
  path = join(directory.path, "upload.tmp");
  fileSystem = new FaultyFileSystem();
});
afterEach(() => directory[Symbol.asyncDispose]());

const create = (): Promise<StagingFile> => StagingFile.create(fileSystem, path, OFFSET, { bufferBytes: BUFFER_BYTES });

/** Writes in chunks of random sizes from one receive buffer that is reused as soon as a write is done. */
async function writeAll(file: StagingFile, bytes: Buffer, chunkBytesMax: number): Promise<void> {
  const received = Buffer.alloc(chunkBytesMax);
  for (let at = 0; at < bytes.length;) {
    const taken = bytes.copy(received, 0, at, at + random.int(1, chunkBytesMax));
    await file.write(received.subarray(0, taken));
    received.fill(0xa5);
    at += taken;
  }
}

function expectNothingOpen(): void {
  expect(fileSystem.openFiles).toEqual([]);
}

describe("StagingFile", () => {
  test.each([
    ["whole writes", Number.POSITIVE_INFINITY, 0],
    ["whole writes that take their time", Number.POSITIVE_INFINITY, 3],
    ["short writes", 37, 0],
    ["short writes that take their time", 333, 2],
  ])("I5: after finish the file holds every byte, with %s", async (_, writeBytesMax, delayTurns) => {
    Object.assign(fileSystem, { writeBytesMax, delayTurns });
    for (const sizeBytes of [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 2 * BUFFER_BYTES, 12_345]) {
      for (const chunkBytesMax of [1 + sizeBytes, 300, 2500]) {
        const file = await create();
        const bytes = random.bytes(sizeBytes);
        await writeAll(file, bytes, chunkBytesMax);
        await file.finish();
        expectNothingOpen();
        expect(readFileSync(path).subarray(OFFSET).equals(bytes)).toBe(true);
        await file.discard();
        expect(existsSync(path)).toBe(false);
      }
    }
  });

  test("I5: finish closes the descriptor only after the last write has completed", async () => {
    Object.assign(fileSystem, { writeBytesMax: 100, delayTurns: 2 });
    const file = await create();
    await writeAll(file, random.bytes(5000), 700);
    await file.finish();
    const history = fileSystem.history("writeAsync", "closeAsync");
    expect(history).toHaveLength(51);
    expect(history.at(-1)).toBe("closeAsync upload.tmp");
  });

  test("a failure of any of its writes surfaces, at the latest in finish, and leaves nothing open", async () => {
    for (const delayTurns of [0, 2]) {
      for (let nth = 1; nth <= 13; nth += 1) {
        fileSystem = new FaultyFileSystem();
        fileSystem.delayTurns = delayTurns;
        fileSystem.failOnce(({ name }) => name === "writeAsync", "ENOSPC", nth);
        const file = await create();
        const upload = writeAll(file, random.bytes(12_500), 700).then(() => file.finish());
        await expect(upload, `write ${nth}`).rejects.toMatchObject({ code: "ENOSPC" });
        await file.discard();
        expectNothingOpen();
        expect(existsSync(path)).toBe(false);
      }
    }
  });

  test("goes on to fail after a failure", async () => {
    fileSystem.failOnce(({ name }) => name === "writeAsync", "EIO");
    const file = await create();
    await expect(writeAll(file, random.bytes(5000), 700)).rejects.toMatchObject({ code: "EIO" });
    await expect(writeAll(file, random.bytes(5000), 700)).rejects.toMatchObject({ code: "EIO" });
    await expect(file.finish()).rejects.toMatchObject({ code: "EIO" });
    expectNothingOpen();
  });

  test("a write that makes no progress is an error and no endless loop", async () => {
    fileSystem.writeBytesMax = 0;
    const file = await create();
    await expect(writeAll(file, random.bytes(5000), 700).then(() => file.finish())).rejects.toThrow("progress");
    await file.discard();
    expectNothingOpen();
  });

  test("a failed close surfaces in finish, and discard removes the file all the same", async () => {
    fileSystem.failOnce(({ name }) => name === "closeAsync", "EIO");
    const file = await create();
    await file.write(random.bytes(10));
    await expect(file.finish()).rejects.toMatchObject({ code: "EIO" });
    await file.discard();
    expect(existsSync(path)).toBe(false);
    expectNothingOpen();
  });

  test("discard removes the file also where its close fails", async () => {
    fileSystem.failOnce(({ name }) => name === "closeAsync", "EIO");
    const file = await create();
    await file.write(random.bytes(10));
    await file.discard().catch(() => undefined);
    expect(existsSync(path)).toBe(false);
    expectNothingOpen();
  });

  test("a file that cannot be made is reported", async () => {
    fileSystem.failOnce(({ name }) => name === "openAsync", "EMFILE");
    await expect(create()).rejects.toMatchObject({ code: "EMFILE" });
    expectNothingOpen();
  });

  test("discard in the middle of a write leaves nothing", async () => {
    fileSystem.delayTurns = 5;
    const file = await create();
    const writing = writeAll(file, random.bytes(5000), 5000);
    await writing;
    await file.discard();
    expect(existsSync(path)).toBe(false);
    expectNothingOpen();
  });
});
