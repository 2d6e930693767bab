import { keyBytes, keyWords } from "../../src/cache/key-words.ts";
import { closeSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { ACTION_CACHE_SPACE, type EntryKey, isContentAddressed } from "../../src/cache/entry-key.ts";
import type { Clock } from "../../src/clock.ts";
import { DiskLedger } from "../../src/storage/disk-ledger.ts";
import { nodeFileSystem } from "../../src/storage/file-system.ts";
import { allocateIndexBuffers } from "../../src/storage/index/index-layout.ts";
import type { FoundEntry } from "../../src/storage/index/index-reader.ts";
import { IndexWriter } from "../../src/storage/index/index-writer.ts";
import { leaseSeconds } from "../../src/storage/lease-clock.ts";
import { segmentIdOfFileName, segmentPath } from "../../src/storage/segment/segment-file.ts";
import {
  decodeRecordHeader,
  FOOTER_ROW_BYTES,
  FOOTER_TAIL_BYTES,
  RECORD_HEADER_BYTES,
  recordFootprintBytes,
} from "../../src/storage/segment/segment-format.ts";
import { type RecoveredSegment, recoverSegment } from "../../src/storage/segment/segment-recovery.ts";
import { ADOPTED_PAYLOAD_OFFSET, adoptedFileBytes, stagingFileBytes } from "../../src/storage/shard/adoption.ts";
import { ShardAssignment } from "../../src/storage/shard/shard-assignment.ts";
import type { ShardContext } from "../../src/storage/shard/shard-context.ts";
import type { PutOutcome, PutRequest, RecoverResult, StagedSource } from "../../src/storage/shard/shard-protocol.ts";
import { ShardStats } from "../../src/storage/shard/shard-stats.ts";
import { Shard } from "../../src/storage/shard/shard.ts";
import { StagingSlab } from "../../src/storage/staging/staging-slab.ts";
import { StorePaths } from "../../src/storage/store-paths.ts";
import { FaultyFileSystem } from "./faulty-file-system.ts";
import type { SeededRandom } from "./seeded-random.ts";

/** An entry to be stored. */
export interface TestValue {
  readonly key: EntryKey;
  readonly bytes: Buffer;
}

export function actionValue(name: string, bytes: Buffer): TestValue {
  return { key: { space: ACTION_CACHE_SPACE, words: keyWords(Buffer.alloc(32, name)), sizeBytes: undefined }, bytes };
}

export interface TestShardOptions {
  readonly random: SeededRandom;
  readonly segmentBytesMax?: number;
  readonly bytesMax?: number;
  readonly minLeaseSeconds?: number;
  readonly durability?: "commit" | "relaxed";
  readonly entryCountMax?: number;
  /** Sees every call from the first one on, see FaultyFileSystem. */
  readonly before?: FaultyFileSystem["before"];
}

/** The only shard of a data directory, without a thread, over a file system that can fail. */
export class TestShard {
  readonly shard: Shard;
  readonly fileSystem = new FaultyFileSystem();
  readonly index: IndexWriter;
  readonly ledger: DiskLedger;
  readonly stats = new ShardStats();
  readonly paths: StorePaths;
  readonly recovered: RecoverResult;
  readonly #slab = new StagingSlab(16 * 1024 * 1024, 4096);
  readonly #clock: Clock;
  #nowSeconds = 1000;
  #stagedCount = 0;

  /** Opens what is in the directory, as the engine would. */
  constructor(directory: string, options: TestShardOptions) {
    this.paths = new StorePaths(directory);
    if (options.before !== undefined) this.fileSystem.before = options.before;
    for (const path of [this.paths.segments, this.paths.checkpoint, this.paths.staging])
      nodeFileSystem.makeDirectory(path);
    this.#clock = { wallMs: () => 1_700_000_000_000, monotonicMs: () => this.#nowSeconds * 1000 };
    this.index = new IndexWriter(allocateIndexBuffers(options.entryCountMax ?? 10_000));
    this.ledger = new DiskLedger(options.bytesMax ?? 256 * 1024 * 1024);
    const assignment = new ShardAssignment(1);
    const context: ShardContext = {
      shardIndex: 0,
      shardCount: 1,
      segmentsDirectory: this.paths.segments,
      checkpointDirectory: this.paths.checkpoint,
      stagingDirectory: this.paths.staging,
      atRest: "as-uploaded",
      keepFreeBytes: 0,
      durability: options.durability ?? "commit",
      segmentBytesMax: options.segmentBytesMax ?? 1024 * 1024,
      minLeaseSeconds: options.minLeaseSeconds ?? 0,
      slab: new Uint8Array(this.#slab.buffer),
      slabBlockBytes: this.#slab.blockBytes,
      fileSystem: this.fileSystem,
      index: this.index,
      ledger: this.ledger,
      assignment,
      stats: this.stats,
      clock: this.#clock,
      randomWord: () => options.random.int(1, 2 ** 32 - 1),
    };
    this.shard = new Shard(context);
    const segmentIds = this.segmentIds();
    assignment.setNextSegmentId(Math.max(0, ...segmentIds) + 1);
    this.recovered = this.shard.recover({ segmentIds, ownOnly: false });
    const { segments } = this.recovered;
    const own = segments.filter(({ shardCount }) => shardCount === 1);
    const foreign = segments.filter(({ shardCount }) => shardCount !== 1);
    for (const { accountedBytes } of segments) this.ledger.charge(accountedBytes);
    const firstSequence = Math.max(0, ...segments.map(({ maxSequence }) => maxSequence)) + 1;
    this.shard.load({ own, foreign, firstSequence });
    // What a start does is not what the tests count.
    this.fileSystem.calls.splice(0);
  }

  /** One group commit of values that lie in the slab. */
  put(...values: TestValue[]): PutOutcome[] {
    return this.putSources(values.map((value) => ({ value, source: this.#stageInSlab(value.bytes) })));
  }

  /** One group commit of values that lie in temp files. */
  putFiles(...values: TestValue[]): PutOutcome[] {
    return this.putSources(values.map((value) => ({ value, source: this.stageInFile(value.bytes) })));
  }

  /** Like the upload that hands over: its room was reserved, its blocks are free again once it is answered. */
  putSources(staged: readonly { value: TestValue; source: StagedSource; sizeBytes?: number }[]): PutOutcome[] {
    const requests = staged.map(({ value, source, sizeBytes = value.bytes.length }) => {
      this.ledger.charge(recordFootprintBytes(sizeBytes));
      if (source.kind === "file") this.ledger.charge(stagingFileBytes(sizeBytes));
      return requestOf(value, sizeBytes, source, false);
    });
    try {
      return this.shard.put(requests);
    } finally {
      for (const { source } of staged) if (source.kind === "slab") this.#slab.give(source.blocks);
    }
  }

  /** The steps of adopting a temp file. @param sizeBytes What the upload says of it. */
  adopting(value: TestValue, sizeBytes = value.bytes.length): Generator<undefined, PutOutcome> {
    this.ledger.charge(adoptedFileBytes(sizeBytes));
    return this.shard.adopt(requestOf(value, sizeBytes, this.stageInFile(value.bytes), true));
  }

  adopt(value: TestValue, sizeBytes?: number): PutOutcome {
    return finish(this.adopting(value, sizeBytes));
  }

  /** @param favouredOwners Whose records are kept. */
  retire(...favouredOwners: number[]): number[] {
    const before = this.ledger.bytesUsed;
    const { retiredSegmentIds, freedBytes } = finish(this.shard.retire(undefined, favouredOwners));
    const freed = before - this.ledger.bytesUsed;
    if (freedBytes !== freed) throw new Error(`told that ${freedBytes} bytes were freed, and ${freed} were`);
    return retiredSegmentIds;
  }

  stageInFile(bytes: Buffer): StagedSource & { kind: "file" } {
    this.#stagedCount += 1;
    const path = join(this.paths.staging, `${this.#stagedCount}.tmp`);
    writeFileSync(path, Buffer.concat([Buffer.alloc(ADOPTED_PAYLOAD_OFFSET), bytes]));
    return { kind: "file", path };
  }

  /** Lets time pass on the clock by which leases are kept. */
  pass(seconds: number): void {
    this.#nowSeconds += seconds;
  }

  /** Marks an entry as used now, as a reader would. */
  use(value: TestValue): void {
    const found = this.find(value);
    if (found === undefined) throw new Error("only a visible entry can be used");
    this.index.touch(found.entryNumber, leaseSeconds(this.#clock));
  }

  find({ key }: TestValue): FoundEntry | undefined {
    return this.index.find(key.words, key.space);
  }

  /** The bytes that the index points to, or undefined for a miss. */
  read(value: TestValue): Buffer | undefined {
    const found = this.find(value);
    if (found === undefined) return undefined;
    const file = readFileSync(segmentPath(this.paths.segments, found.segmentId));
    const header = decodeRecordHeader(file.subarray(found.offset));
    if (header === undefined || !Buffer.from(keyBytes(value.key.words)).equals(header.key)) {
      throw new Error("the index points to no record, or to one of another key");
    }
    const start = found.offset + RECORD_HEADER_BYTES;
    return file.subarray(start, start + found.storedBytes);
  }

  expectStored(...values: TestValue[]): void {
    for (const value of values) expectBytes(this.read(value), value.bytes);
  }

  expectAbsent(...values: TestValue[]): void {
    for (const value of values) expectBytes(this.read(value), undefined);
  }

  segmentIds(): number[] {
    const ids = readdirSync(this.paths.segments).map((name) => segmentIdOfFileName(name) ?? -1);
    return ids.toSorted((a, b) => a - b);
  }

  segmentFileBytes(segmentId: number): number {
    return statSync(segmentPath(this.paths.segments, segmentId)).size;
  }

  inspect(segmentId: number): RecoveredSegment {
    const fd = openSync(segmentPath(this.paths.segments, segmentId), "r");
    try {
      return recoverSegment(nodeFileSystem, fd);
    } finally {
      closeSync(fd);
    }
  }

  /** I7: the ledger counts what the files hold once they are sealed, nothing stays staged, nothing stays open. */
  expectSettled(openSegments = 1): void {
    let fileBytes = readdirSync(this.paths.checkpoint).reduce(
      (sum, name) => sum + statSync(join(this.paths.checkpoint, name)).size,
      0,
    );
    for (const segmentId of this.segmentIds()) {
      const { endOffset, records, sealed } = this.inspect(segmentId);
      const sealedBytes = endOffset + records.length * FOOTER_ROW_BYTES + FOOTER_TAIL_BYTES;
      fileBytes += sealed ? this.segmentFileBytes(segmentId) : sealedBytes;
    }
    const { openFiles } = this.fileSystem;
    expectBooks({
      ledgerBytes: [this.ledger.bytesUsed, fileBytes],
      stagedFiles: [readdirSync(this.paths.staging), []],
      slabBytes: [this.#slab.bytesInUse, 0],
      openFiles: [openFiles, openFiles.slice(0, openSegments)],
    });
  }

  #stageInSlab(bytes: Buffer): StagedSource {
    const blocks: number[] = [];
    for (let at = 0; at < bytes.length; at += this.#slab.blockBytes) {
      const block = this.#slab.take();
      if (block === undefined) throw new Error("the slab of the test shard is used up");
      this.#slab.view(block).set(bytes.subarray(at, at + this.#slab.blockBytes));
      blocks.push(block);
    }
    return { kind: "slab", blocks, start: 0 };
  }
}

function requestOf({ key }: TestValue, sizeBytes: number, source: StagedSource, adopt: boolean): PutRequest {
  return {
    space: key.space,
    key: keyBytes(key.words),
    contentAddressed: isContentAddressed(key),
    encoding: 0,
    sizeBytes,
    stagedBytes: sizeBytes,
    owner: key.owner ?? 0,
    source,
    adopt,
  };
}

/** Runs a long job of a shard to its end. */
export function finish<T>(job: Generator<undefined, T>): T {
  for (;;) {
    const step = job.next();
    if (step.done === true) return step.value;
  }
}

function expectBytes(actual: Buffer | undefined, expected: Buffer | undefined): void {
  expect(actual?.length, "size of what is stored").toBe(expected?.length);
  expect(actual === undefined || expected === undefined || actual.equals(expected), "the bytes are the same").toBe(
    true,
  );
}

/** @param books What there is, and what there should be. */
function expectBooks(books: Record<string, readonly [actual: unknown, expected: unknown]>): void {
  const column = (i: 0 | 1): [string, unknown][] => Object.entries(books).map(([name, pair]) => [name, pair[i]]);
  expect(Object.fromEntries(column(0))).toEqual(Object.fromEntries(column(1)));
}
