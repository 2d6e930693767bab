import { beforeEach, describe, expect, test } from "vitest";
import { CacheError } from "../../../src/cache/cache-error.ts";
import { DiskLedger } from "../../../src/storage/disk-ledger.ts";
import { nodeFileSystem } from "../../../src/storage/file-system.ts";
import { recordFootprintBytes } from "../../../src/storage/segment/segment-format.ts";
import { decodePuts, encodeOutcomes, type PutMessage } from "../../../src/storage/shard/put-message.ts";
import { type ShardClient, ShardDiedError } from "../../../src/storage/shard/shard-client.ts";
import type { PutOutcome } from "../../../src/storage/shard/shard-protocol.ts";
import { DiskAdmission } from "../../../src/storage/staging/disk-admission.ts";
import { StagedBatch } from "../../../src/storage/staging/staged-batch.ts";
import type { StagingContext } from "../../../src/storage/staging/staged-upload.ts";
import { StagingSlab } from "../../../src/storage/staging/staging-slab.ts";
import { type CasContent, randomContents } from "../../support/cas-content.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const random = seededRandom(testSeed("StagedBatch"));
const BLOCK_BYTES = 1024;
const BLOCKS = 16;
const SIZES = [1, 100, BLOCK_BYTES, 3, 2 * BLOCK_BYTES + 5, BLOCK_BYTES - 1, 40];

let ledger: DiskLedger;
let slab: StagingSlab;
let context: StagingContext;
let shard: FakeShard;

/** Reads what is handed over and answers as it is told to. */
class FakeShard implements ShardClient {
  readonly callsInFlight = 0;
  readonly taken: Buffer[] = [];
  outcomes: PutOutcome[] | Error = [];
  /** Whether what it is asked leaves the thread. */
  isReachable = true;

  call = (async (_method: "putMany", message: PutMessage, onSent?: () => void) => {
    if (!this.isReachable) throw new ShardDiedError(undefined);
    onSent?.();
    for (const { source, sizeBytes } of decodePuts(structuredClone(message))) {
      if (source.kind !== "slab") throw new TypeError("expected bytes in the slab");
      const blocks = Buffer.concat(source.blocks.map((block) => slab.view(block)));
      this.taken.push(blocks.subarray(source.start, source.start + sizeBytes));
    }
    if (this.outcomes instanceof Error) throw this.outcomes;
    return encodeOutcomes(this.outcomes);
  }) as ShardClient["call"];

  terminate(): Promise<void> {
    return Promise.resolve();
  }
}

beforeEach(() => open(1024 * 1024));

function open(ledgerBytes: number): void {
  ledger = new DiskLedger(ledgerBytes);
  slab = new StagingSlab(BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
  shard = new FakeShard();
  const fileBudget = new DiskLedger(0);
  const waiting = { keepFreeBytes: 0, waitersMax: 0, waitMs: 0, wantRoom: () => undefined };
  context = {
    slab,
    fileSystem: nodeFileSystem,
    ledger,
    admission: new DiskAdmission(ledger, waiting),
    fileBudget,
    fileAdmission: new DiskAdmission(fileBudget, waiting),
    slabUploadBytesMax: BLOCK_BYTES,
    adoptBytesMin: BLOCK_BYTES,
    fileBufferBytes: 256 * 1024,
    earlySyncs: undefined,
    entryBytesMax: BLOCK_BYTES,
    newStagingPath: () => "",
    boot: undefined,
    diskUseChanged: () => undefined,
  };
}

const stage = (contents: readonly CasContent[]): StagedBatch | undefined =>
  StagedBatch.tryStage(context, shard, contents);
const footprint = (contents: readonly CasContent[]): number =>
  contents.reduce((sum, { bytes }) => sum + recordFootprintBytes(bytes.length), 0);

describe("StagedBatch", () => {
  test("hands over every value byte for byte, in as few blocks as hold them all", async () => {
    const contents = randomContents(random, SIZES);
    const batch = stage(contents);
    const bytes = SIZES.reduce((sum, size) => sum + size);
    expect(slab.bytesInUse).toBe(Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES);
    expect(ledger.bytesUsed).toBe(footprint(contents));
    shard.outcomes = contents.map(() => ({ status: "stored" }));
    expect(await batch?.commit()).toEqual(contents.map(() => undefined));
    expect(shard.taken).toEqual(contents.map((content) => content.bytes));
    expect(slab.bytesInUse).toBe(0);
    // What is stored stays counted: it is the segment's now.
    expect(ledger.bytesUsed).toBe(footprint(contents));
  });

  test("says of each value why it was not stored", async () => {
    const contents = randomContents(random, [10, 20, 30]);
    shard.outcomes = [
      { status: "present" },
      { status: "failed", code: "invalid_argument", message: "hash: another" },
      { status: "failed", code: "storage_full", message: "full" },
    ];
    const failures = (await stage(contents)?.commit()) ?? [];
    expect(failures.map((failure) => [failure?.code, failure?.retryAfterMs])).toEqual([
      [undefined, undefined],
      ["invalid_argument", undefined],
      ["storage_full", 1000],
    ]);
    expect(slab.bytesInUse).toBe(0);
  });

  test.each([
    ["memory", BLOCKS * BLOCK_BYTES + 1, 1024 * 1024],
    ["disk", 2 * BLOCK_BYTES, 2 * BLOCK_BYTES],
  ])("takes nothing where there is not %s enough for all", (_, sizeBytes, ledgerBytes) => {
    open(ledgerBytes);
    const half = Math.ceil(sizeBytes / 2);
    expect(stage(randomContents(random, [half, half]))).toBeUndefined();
    expect([slab.bytesInUse, ledger.bytesUsed]).toEqual([0, 0]);
  });

  test("what a shard that died may have appended stays counted", async () => {
    const contents = randomContents(random, [10, 20]);
    shard.outcomes = new ShardDiedError(undefined);
    const failures = (await stage(contents)?.commit()) ?? [];
    expect(failures.map((failure) => failure?.code)).toEqual(["unavailable", "unavailable"]);
    expect([slab.bytesInUse, ledger.bytesUsed]).toEqual([0, footprint(contents)]);
  });

  test("what was never sent to a shard that is gone is given back", async () => {
    shard.isReachable = false;
    const failures = (await stage(randomContents(random, [10, 20]))?.commit()) ?? [];
    expect(failures.map((failure) => failure?.code)).toEqual(["unavailable", "unavailable"]);
    expect([slab.bytesInUse, ledger.bytesUsed]).toEqual([0, 0]);
  });

  test("what a shard refused to take is given back", async () => {
    shard.outcomes = new CacheError("unavailable", "closing");
    const failures = (await stage(randomContents(random, [10, 20]))?.commit()) ?? [];
    expect(failures.map((failure) => failure?.code)).toEqual(["unavailable", "unavailable"]);
    expect([slab.bytesInUse, ledger.bytesUsed]).toEqual([0, 0]);
  });
});
