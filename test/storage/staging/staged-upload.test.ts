import { keyBytes, keyWords } from "../../../src/cache/key-words.ts";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CacheError } from "../../../src/cache/cache-error.ts";
import { ACTION_CACHE_SPACE, type EntryKey } from "../../../src/cache/entry-key.ts";
import { DiskLedger } from "../../../src/storage/disk-ledger.ts";
import { recordFootprintBytes } from "../../../src/storage/segment/segment-format.ts";
import { ADOPTED_PAYLOAD_OFFSET, adoptedFileBytes, stagingFileBytes } from "../../../src/storage/shard/adoption.ts";
import type { ShardClient } from "../../../src/storage/shard/shard-client.ts";
import type { PutOutcome, PutRequest } from "../../../src/storage/shard/shard-protocol.ts";
import { DiskAdmission } from "../../../src/storage/staging/disk-admission.ts";
import { StagedUpload, type StagingContext } from "../../../src/storage/staging/staged-upload.ts";
import { StagingSlab } from "../../../src/storage/staging/staging-slab.ts";
import { randomContent } from "../../support/cas-content.ts";
import { FaultyFileSystem } from "../../support/faulty-file-system.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";

const random = seededRandom(testSeed("StagedUpload"));
const MIB = 1024 * 1024;
const BLOCK_BYTES = 1024;
const SLAB_BYTES = 16 * BLOCK_BYTES;
const SLAB_UPLOAD_BYTES_MAX = 8 * BLOCK_BYTES;
const ADOPT_BYTES_MIN = MIB;
const ENTRY_BYTES_MAX = 32 * MIB;
/** Keys that fix no size, as of action results. */
const openKey = (): EntryKey => ({
  space: ACTION_CACHE_SPACE,
  words: keyWords(random.bytes(32)),
  sizeBytes: undefined,
});

/** A kernel of this test's own. */
const BOOT = Buffer.alloc(16, 0xb0);

let directory: TemporaryDirectory;
let fileSystem: FaultyFileSystem;
let ledger: DiskLedger;
let fileBudget: DiskLedger;
let slab: StagingSlab;
let context: StagingContext;
let shard: FakeShard;

/** Takes what is handed over like a shard: reads it, removes the file, keeps the books. */
class FakeShard implements ShardClient {
  readonly callsInFlight = 0;
  readonly taken: { request: PutRequest; bytes: Buffer }[] = [];
  outcome: PutOutcome = { status: "stored" };
  /** Thrown in place of an answer. */
  failure: Error | undefined;

  call = (async (_method: "put", request: PutRequest): Promise<PutOutcome> => {
    if (this.failure !== undefined) throw this.failure;
    const { source, sizeBytes, adopt } = request;
    if (source.kind === "file" && fileSystem.openFiles.includes(source.path)) throw new Error("I5: handed over open");
    const bytes =
      source.kind === "file"
        ? readFileSync(source.path).subarray(ADOPTED_PAYLOAD_OFFSET)
        : Buffer.concat(source.blocks.map((block) => slab.view(block))).subarray(0, sizeBytes);
    this.taken.push({ request, bytes: Buffer.from(bytes) });
    const isStored = this.outcome.status === "stored";
    if (source.kind === "file") rmSync(source.path);
    if (source.kind === "file" && !adopt) ledger.release(stagingFileBytes(sizeBytes));
    if (!isStored) ledger.release(adopt ? adoptedFileBytes(sizeBytes) : recordFootprintBytes(sizeBytes));
    return this.outcome;
  }) as ShardClient["call"];

  terminate(): Promise<void> {
    return Promise.resolve();
  }
}

beforeEach(async () => {
  directory = await makeTemporaryDirectory("staged");
  open();
});
afterEach(() => directory[Symbol.asyncDispose]());

function open(ledgerBytes = 256 * MIB, waitMs = 60_000): void {
  fileSystem = new FaultyFileSystem();
  ledger = new DiskLedger(ledgerBytes);
  fileBudget = new DiskLedger(64 * MIB);
  slab = new StagingSlab(SLAB_BYTES, BLOCK_BYTES);
  shard = new FakeShard();
  const waiting = { keepFreeBytes: 0, waitersMax: 100, waitMs, wantRoom: () => undefined };
  let pathCount = 0;
  const admission = new DiskAdmission(ledger, waiting);
  context = {
    slab,
    fileSystem,
    ledger,
    admission,
    fileBudget,
    fileAdmission: new DiskAdmission(fileBudget, waiting),
    slabUploadBytesMax: SLAB_UPLOAD_BYTES_MAX,
    adoptBytesMin: ADOPT_BYTES_MIN,
    fileBufferBytes: 256 * 1024,
    earlySyncs: undefined,
    entryBytesMax: ENTRY_BYTES_MAX,
    newStagingPath: () => join(directory.path, `${(pathCount += 1)}.tmp`),
    boot: BOOT,
    diskUseChanged: () => admission.roomWasMade(),
  };
}

/** What is on the ledger once a value of this size is stored. */
function storedBytes(sizeBytes: number): number {
  const isAdopted = shard.taken.at(-1)?.request.adopt === true;
  return isAdopted ? adoptedFileBytes(sizeBytes) : recordFootprintBytes(sizeBytes);
}

function expectNothingStaged(ledgerBytes: number): void {
  expect(ledger.bytesUsed, "ledger").toBe(ledgerBytes);
  expect(fileBudget.bytesUsed, "temp file budget").toBe(0);
  expect(slab.bytesInUse, "slab").toBe(0);
  expect(fileSystem.openFiles, "descriptors").toEqual([]);
  expect(readdirSync(directory.path), "temp files").toEqual([]);
}

async function writeAll(upload: StagedUpload, bytes: Buffer, chunkBytesMax: number): Promise<void> {
  const received = Buffer.alloc(chunkBytesMax);
  for (let at = 0; at < bytes.length;) {
    const taken = bytes.copy(received, 0, at, at + random.int(1, chunkBytesMax));
    await upload.write(received.subarray(0, taken));
    received.fill(0xa5);
    at += taken;
  }
}

/** Of the error that it fails with, or undefined. */
function codeOf(action: Promise<unknown>): Promise<string | undefined> {
  return action.then(
    () => undefined,
    (error: { code: string }) => error.code,
  );
}

const SIZES = [
  0,
  1,
  BLOCK_BYTES - 1,
  BLOCK_BYTES,
  BLOCK_BYTES + 1,
  SLAB_UPLOAD_BYTES_MAX,
  SLAB_UPLOAD_BYTES_MAX + 1,
  300_000,
  ADOPT_BYTES_MIN - 1,
  ADOPT_BYTES_MIN,
  3 * MIB + 5,
];

describe("StagedUpload", () => {
  test.each(SIZES)(
    "hands over every one of %i bytes, its size known or not, and frees what it held",
    async (sizeBytes) => {
      for (const known of [true, false]) {
        open();
        Object.assign(fileSystem, { writeBytesMax: 50_000, delayTurns: 1 });
        const bytes = random.bytes(sizeBytes);
        const upload = await StagedUpload.start(context, shard, openKey(), known ? sizeBytes : undefined);
        await writeAll(upload, bytes, random.pick([500, 5000, 400_000]) + Math.floor(sizeBytes / 100));
        expect(upload.bytesStaged).toBe(sizeBytes);
        await upload.commit();
        expect(shard.taken).toHaveLength(1);
        expect(shard.taken[0]?.bytes.equals(bytes)).toBe(true);
        expect(shard.taken[0]?.request).toMatchObject({ sizeBytes, contentAddressed: false });
        expectNothingStaged(storedBytes(sizeBytes));
        await upload.discard();
        expectNothingStaged(storedBytes(sizeBytes));
      }
    },
  );

  test("a small upload that finds no free block spills to a file in the middle, and loses nothing", async () => {
    const blocks = Array.from({ length: slab.blockCount - 3 }, () => slab.take() ?? -1);
    const { bytes, key } = randomContent(random, 8 * BLOCK_BYTES - 5);
    const upload = await StagedUpload.start(context, shard, key, bytes.length);
    await writeAll(upload, bytes, 700);
    expect(slab.bytesInUse, "its own blocks went back").toBe(blocks.length * BLOCK_BYTES);
    await upload.commit();
    expect(shard.taken[0]?.request).toMatchObject({ source: { kind: "file" }, adopt: false, contentAddressed: true });
    expect(shard.taken[0]?.bytes.equals(bytes)).toBe(true);
    slab.give(blocks);
    expectNothingStaged(storedBytes(bytes.length));
  });

  test("reserves the room for all of an upload of known size before it takes a byte", async () => {
    for (const [sizeBytes, reserved] of [
      [100, recordFootprintBytes(100)],
      [100_000, recordFootprintBytes(100_000) + stagingFileBytes(100_000)],
      [2 * MIB, adoptedFileBytes(2 * MIB)],
    ] as const) {
      const upload = await StagedUpload.start(context, shard, openKey(), sizeBytes);
      expect(ledger.bytesUsed).toBe(reserved);
      await upload.discard();
      expectNothingStaged(0);
    }
  });

  test("I7: temp files and what is still to be written are on the ledger all the time", async () => {
    const upload = await StagedUpload.start(context, shard, openKey(), undefined);
    const chunk = random.bytes(200_000);
    for (let written = chunk.length; written <= 20 * MIB; written += chunk.length) {
      await upload.write(chunk);
      expect(ledger.bytesUsed).toBeGreaterThan(written);
    }
    await upload.discard();
    expectNothingStaged(0);
  });

  test("refuses the first byte past its size, or past the largest entry, and is as good as before", async () => {
    const { bytes, key } = randomContent(random, 5000);
    const upload = await StagedUpload.start(context, shard, key, bytes.length);
    await upload.write(bytes.subarray(0, 4000));
    expect(() => upload.write(bytes.subarray(0, 1001))).toThrow(CacheError);
    await upload.write(bytes.subarray(4000));
    await upload.commit();
    expect(shard.taken[0]?.bytes.equals(bytes)).toBe(true);
    const open = await StagedUpload.start(context, shard, openKey(), undefined);
    expect(() => open.write(Buffer.alloc(ENTRY_BYTES_MAX + 1))).toThrow("at most");
    await open.discard();
    expectNothingStaged(storedBytes(5000));
  });

  test("a shorter upload than announced is refused at commit and not handed over", async () => {
    for (const sizeBytes of [100, 100_000, 2 * MIB]) {
      const upload = await StagedUpload.start(context, shard, openKey(), sizeBytes);
      await writeAll(upload, random.bytes(sizeBytes - 1), 50_000);
      await expect(upload.commit()).rejects.toMatchObject({ code: "invalid_argument" });
      expectNothingStaged(0);
    }
    expect(shard.taken).toEqual([]);
  });

  test.each([
    ["refused", { status: "failed", code: "invalid_argument", message: "hash" }, "invalid_argument"],
    ["not stored for want of room", { status: "failed", code: "storage_full", message: "full" }, "storage_full"],
    ["already there", { status: "present" }, undefined],
  ] as const)("nothing stays of an upload that was %s by the shard", async (_, outcome, code) => {
    shard.outcome = outcome;
    for (const sizeBytes of SIZES) {
      const upload = await StagedUpload.start(context, shard, openKey(), sizeBytes);
      await writeAll(upload, random.bytes(sizeBytes), 400_000);
      expect(await codeOf(upload.commit())).toBe(code);
      expectNothingStaged(0);
    }
  });

  test("nothing stays of an upload to a shard that does not answer", async () => {
    shard.failure = new CacheError("unavailable", "gone");
    for (const sizeBytes of SIZES) {
      const upload = await StagedUpload.start(context, shard, openKey(), sizeBytes);
      await writeAll(upload, random.bytes(sizeBytes), 400_000);
      await expect(upload.commit()).rejects.toMatchObject({ code: "unavailable" });
      expectNothingStaged(0);
    }
  });

  test("nothing stays of an upload that is discarded at any point", async () => {
    for (const sizeBytes of SIZES) {
      for (const known of [true, false]) {
        for (const share of [0, 0.3, 0.999, 1]) {
          const upload = await StagedUpload.start(context, shard, openKey(), known ? sizeBytes : undefined);
          await writeAll(upload, random.bytes(Math.floor(sizeBytes * share)), 400_000);
          await upload.discard();
          await upload.discard();
          expectNothingStaged(0);
          expect(() => upload.write(Buffer.alloc(0))).toThrow("ended");
          await expect(upload.commit()).rejects.toBeInstanceOf(CacheError);
        }
      }
    }
    expect(shard.taken).toEqual([]);
  });
});

describe("nothing stays staged, and no wrong bytes are handed over, whichever call fails", () => {
  const shapes: [string, number, boolean][] = [
    ["a small one that spills", 6 * BLOCK_BYTES, true],
    ["a large one", 700_000, true],
    ["one to be adopted", 2 * MIB, true],
    ["one of unknown size that grows", 9 * MIB + 3, false],
  ];

  test.each(shapes)("%s", async (_, sizeBytes, known) => {
    for (const [code, cacheCode] of [
      ["ENOSPC", "storage_full"],
      ["EMFILE", "resource_exhausted"],
    ] as const) {
      let failures = 0;
      for (let nth = 1; ; nth += 1) {
        open();
        fileSystem.delayTurns = nth % 3;
        let didFail = false;
        let left = nth;
        fileSystem.before = () => {
          left -= 1;
          didFail ||= left === 0;
          if (left === 0) throw Object.assign(new Error(code), { code });
        };
        const blocks = Array.from({ length: slab.blockCount - 2 }, () => slab.take() ?? -1);
        const bytes = random.bytes(sizeBytes);
        let error: unknown;
        let upload: StagedUpload | undefined;
        try {
          upload = await StagedUpload.start(context, shard, openKey(), known ? sizeBytes : undefined);
          await writeAll(upload, bytes, 300_000);
          await upload.commit();
        } catch (caught) {
          error = caught;
          await upload?.discard();
        }
        fileSystem.before = () => undefined;
        slab.give(blocks);
        // Whoever was failed is told so, and of who succeeds every byte is there.
        expect(error instanceof CacheError ? error.code : error).toBe(didFail ? cacheCode : undefined);
        expect(shard.taken.map((taken) => taken.bytes.equals(bytes))).toEqual(didFail ? [] : [true]);
        expectNothingStaged(didFail ? 0 : storedBytes(sizeBytes));
        if (!didFail) break;
        failures += 1;
      }
      expect(failures).toBeGreaterThanOrEqual(3);
    }
  });
});

describe("waiting for room", () => {
  test("an upload that finds none in its time is refused and leaves nothing", async () => {
    open(MIB, 1);
    await expect(StagedUpload.start(context, shard, openKey(), 2 * MIB)).rejects.toMatchObject({
      code: "storage_full",
    });
    const upload = await StagedUpload.start(context, shard, openKey(), undefined);
    await expect(writeAll(upload, random.bytes(2 * MIB), 100_000)).rejects.toMatchObject({ code: "storage_full" });
    await upload.discard();
    expectNothingStaged(0);
  });

  test("an upload whose client goes away while it waits ends at once", async () => {
    open(MIB);
    const abort = new AbortController();
    const starting = StagedUpload.start(context, shard, openKey(), 2 * MIB, abort.signal);
    abort.abort();
    await expect(starting).rejects.toMatchObject({ code: "cancelled" });
    expectNothingStaged(0);
  });

  test("H13: an upload that grows and waits for room ends at once when it is discarded", async () => {
    open(MIB);
    const upload = await StagedUpload.start(context, shard, openKey(), undefined);
    const growing = codeOf(writeAll(upload, random.bytes(2 * MIB), 100_000));
    await vi.waitFor(() => expect(context.ledger.hasWaiters).toBe(true));
    await upload.discard();
    expect(await growing).toBe("cancelled");
    expectNothingStaged(0);
  });

  test("one that was waiting is let in by another's discard", async () => {
    open(MIB);
    const first = await StagedUpload.start(context, shard, openKey(), 400_000);
    const second = StagedUpload.start(context, shard, openKey(), 400_000);
    await first.discard();
    await (await second).discard();
    expectNothingStaged(0);
  });
});

test("many uploads at once over a slab of 16 blocks keep their bytes apart", async () => {
  Object.assign(fileSystem, { writeBytesMax: 20_000, delayTurns: 1 });
  const sizes = Array.from({ length: 80 }, () => random.pick([...SIZES.slice(0, 8), 3000, 20_000]));
  let storedTotal = 0;
  await Promise.all(
    sizes.map(async (sizeBytes, i) => {
      const bytes = random.bytes(sizeBytes);
      const key = openKey();
      const upload = await StagedUpload.start(context, shard, key, i % 3 === 0 ? undefined : sizeBytes);
      await writeAll(upload, bytes, 2000);
      if (i % 5 === 0) return upload.discard();
      await upload.commit();
      storedTotal += recordFootprintBytes(sizeBytes);
      const taken = shard.taken.find(({ request }) => Buffer.from(request.key).equals(keyBytes(key.words)));
      expect(taken?.bytes.equals(bytes)).toBe(true);
    }),
  );
  expectNothingStaged(storedTotal);
});

test("large uploads get half of the slab, each all of its memory or none, and the others a temp file", async () => {
  slab = new StagingSlab(12 * MIB, 32 * 1024);
  context = { ...context, slab, slabUploadBytesMax: 4 * MIB, adoptBytesMin: 8 * MIB };
  const half = randomContent(random, 3 * MIB);
  const start = (): Promise<StagedUpload> => Promise.resolve(StagedUpload.start(context, shard, half.key, 3 * MIB));
  const [first, second, third] = [await start(), await start(), await start()];
  expect(fileBudget.bytesUsed).toBe(3 * MIB);
  for (const upload of [first, second, third]) await writeAll(upload, half.bytes, 100_000);
  expect(slab.bytesInUse).toBe(6 * MIB);
  await first.discard();
  const fourth = await start();
  expect(fileBudget.bytesUsed).toBe(3 * MIB);
  await writeAll(fourth, half.bytes, 100_000);
  for (const upload of [second, third, fourth]) await upload.commit();
  expect(shard.taken.map(({ request }) => request.source.kind)).toEqual(["slab", "file", "slab"]);
  for (const { bytes } of shard.taken) expect(bytes.equals(half.bytes)).toBe(true);
  expectNothingStaged(3 * storedBytes(3 * MIB));
});
