import { keyBytes } from "../../../src/cache/key-words.ts";
import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ByteRange } from "../../../src/cache/entry-store.ts";
import { ChunkBuffers } from "../../../src/storage/segment/chunk-buffers.ts";
import { ChunkReads } from "../../../src/storage/segment/chunk-reads.ts";
import { PromptReads } from "../../../src/storage/segment/prompt-reads.ts";
import { RecordContent } from "../../../src/storage/segment/record-content.ts";
import { segmentPath } from "../../../src/storage/segment/segment-file.ts";
import { RECORD_HEADER_BYTES } from "../../../src/storage/segment/segment-format.ts";
import { SegmentReaders } from "../../../src/storage/segment/segment-readers.ts";
import { collect, randomContent } from "../../support/cas-content.ts";
import { fileError } from "../../support/faulty-file-system.ts";
import { testSeed } from "../../support/seed.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary-directory.ts";
import { TestShard, type TestValue } from "../../support/test-shard.ts";

const random = seededRandom(testSeed("RecordContent"));
const CHUNK_BYTES = 256 * 1024;
const LARGE_BYTES = 2 * CHUNK_BYTES + 1000;
let directory: TemporaryDirectory;
let shard: TestShard;
let readers: SegmentReaders;
let value: TestValue;
let events: string[];
let promptReads: PromptReads;
let chunkReads: ChunkReads;
const chunkBuffers = new ChunkBuffers();

beforeEach(async () => {
  directory = await makeTemporaryDirectory("content");
  shard = new TestShard(directory.path, { random });
  value = randomContent(random, LARGE_BYTES);
  shard.put(randomContent(random, 77), value, randomContent(random, 5));
  readers = new SegmentReaders(shard.fileSystem, shard.paths.segments, 10);
  events = [];
  chunkReads = new ChunkReads();
  promptReads = new PromptReads({ fileSystem: shard.fileSystem });
});
afterEach(() => directory[Symbol.asyncDispose]());

/** Reads that have just had to wait for a disk, so that all go through the pool. */
function pausedReads(): PromptReads {
  const { fileSystem } = shard;
  const [times, counts] = [[0], [0]];
  const reads = new PromptReads({
    fileSystem,
    nowMs: () => times.shift() ?? 10,
    diskReads: () => counts.shift() ?? 1,
  });
  const fd = fileSystem.open(segmentPath(shard.paths.segments, shard.find(value)?.segmentId ?? 0), "read");
  reads.read(fd, Buffer.alloc(1), 0);
  fileSystem.close(fd);
  return reads;
}

async function open(range: ByteRange = { offset: 0 }, verified = false): Promise<RecordContent> {
  const location = shard.find(value);
  if (location === undefined) throw new Error("the value is stored");
  return new RecordContent({
    fileSystem: shard.fileSystem,
    promptReads,
    chunkBuffers,
    chunkReads,
    pinned: await readers.pin(location.segmentId),
    location,
    offset: range.offset,
    length: Math.min(range.limit ?? Number.POSITIVE_INFINITY, value.bytes.length - range.offset),
    verified,
    onVerified: () => void events.push("verified"),
    onCorrupt: () => void events.push("corrupt"),
  });
}

/** Counts what goes on. */
class CountedReads extends ChunkReads {
  runningCount = 0;
  runningMax = 0;
  refusedCount = 0;

  override enter(): Promise<void> | undefined {
    const waiting = super.enter();
    if (waiting !== undefined) return waiting.then(() => this.#begin());
    this.#begin();
    return undefined;
  }

  override leave(): void {
    this.runningCount -= 1;
    super.leave();
  }

  override tryAhead(): boolean {
    const isTaken = super.tryAhead();
    if (!isTaken) this.refusedCount += 1;
    return isTaken;
  }

  #begin(): void {
    this.runningCount += 1;
    this.runningMax = Math.max(this.runningMax, this.runningCount);
  }
}

/** Flips one bit of the record, `at` bytes from its header. */
function damage(at: number): void {
  const location = shard.find(value);
  const fd = shard.fileSystem.open(segmentPath(shard.paths.segments, location?.segmentId ?? 0), "update");
  const byte = Buffer.alloc(1);
  const position = (location?.offset ?? 0) + at;
  shard.fileSystem.read(fd, byte, position);
  byte[0]! ^= 4;
  shard.fileSystem.writeVector(fd, [byte], position);
  shard.fileSystem.close(fd);
}

const RANGES: ByteRange[] = [
  { offset: 0 },
  { offset: 0, limit: 0 },
  { offset: 0, limit: 1 },
  { offset: 10, limit: CHUNK_BYTES },
  { offset: CHUNK_BYTES - 1, limit: 2 },
  { offset: CHUNK_BYTES },
  { offset: CHUNK_BYTES + 7, limit: CHUNK_BYTES - 7 },
  { offset: LARGE_BYTES - 1 },
  { offset: LARGE_BYTES },
];

describe("RecordContent", () => {
  test.each(RANGES)("gives the bytes of %j, streamed or at once, also with short reads", async (range) => {
    const expected = value.bytes.subarray(range.offset, range.offset + (range.limit ?? LARGE_BYTES));
    for (const verified of [true, false]) {
      for (const readBytesMax of [Number.POSITIVE_INFINITY, 10_007]) {
        promptReads = readBytesMax === 10_007 ? pausedReads() : new PromptReads({ fileSystem: shard.fileSystem });
        shard.fileSystem.readBytesMax = readBytesMax;
        const streamed = await open(range, verified);
        expect(verified || (await streamed.check(keyBytes(value.key.words)))).toBe(true);
        expect((await collect(streamed)).equals(expected)).toBe(true);
        const lender = await open(range, verified);
        expect(verified || (await lender.check(keyBytes(value.key.words)))).toBe(true);
        const lent: Buffer[] = [];
        const pieces = lender.lend();
        do {
          for (let piece = pieces.take(); piece !== undefined; piece = pieces.take()) {
            lent.push(Buffer.from(piece.bytes));
            piece.bytes.fill(0);
            piece.giveBack();
          }
        } while (await pieces.more());
        expect(Buffer.concat(lent).equals(expected)).toBe(true);
        const atOnce = await open(range, verified);
        expect(verified || (await atOnce.check(keyBytes(value.key.words)))).toBe(true);
        expect(Buffer.from(await atOnce.bytes()).equals(expected)).toBe(true);
      }
    }
    expect(events).not.toContain("corrupt");
  });

  test("gives parts of chunks where less is asked for, also of those that are yet to be checked", async () => {
    const expected = value.bytes.subarray(7);
    for (const verified of [true, false]) {
      for (const reads of [pausedReads(), new PromptReads({ fileSystem: shard.fileSystem })]) {
        promptReads = reads;
        const content = await open({ offset: 7 }, verified);
        expect(verified || (await content.check(keyBytes(value.key.words)))).toBe(true);
        const pieces = content.lend();
        const taken: Buffer[] = [];
        do {
          for (let piece = pieces.take(10_000); piece !== undefined; piece = pieces.take(10_000)) {
            taken.push(Buffer.from(piece.bytes));
            piece.giveBack();
          }
        } while (await pieces.more());
        expect(Buffer.concat(taken).equals(expected)).toBe(true);
        expect(Math.max(...taken.map(({ length }) => length))).toBeLessThanOrEqual(10_000);
      }
    }
  });

  test("a part that is given of a chunk keeps no more memory than itself", async () => {
    const content = await open();
    expect(await content.check(keyBytes(value.key.words))).toBe(true);
    const piece = content.lend().take(16 * 1024);
    expect(piece?.bytes.buffer.byteLength).toBe(16 * 1024);
    content.close();
  });

  test("of many that are read at the same time a few have memory, and all come to their end", async () => {
    promptReads = pausedReads();
    shard.fileSystem.delayTurns = 2;
    const counted = new CountedReads();
    chunkReads = counted;
    const contents = await Promise.all(Array.from({ length: 100 }, () => open({ offset: 0 }, true)));
    const pieces = contents.map((content) => content.lend());
    const firsts = await Promise.all(pieces.map(async (lent) => (await lent.more()) && lent.take()));
    expect(firsts.every((first) => first !== undefined && first !== false)).toBe(true);
    expect([counted.runningMax, counted.refusedCount]).toEqual([16, 100 - 32]);
    for (const content of contents.slice(0, 50)) content.close();
    const rests = await Promise.all(contents.slice(50).map((content) => content.bytes()));
    for (const rest of rests) expect(rest.equals(value.bytes.subarray(CHUNK_BYTES))).toBe(true);
    expect(counted.runningCount).toBe(0);
    expect(Array.from({ length: 33 }, () => counted.tryAhead()).filter(Boolean)).toHaveLength(32);
    expect(events).toEqual([]);
  });

  test("counts as verified once every chunk was read and held, and not before", async () => {
    const part = await open({ offset: CHUNK_BYTES });
    await part.check(keyBytes(value.key.words));
    await part.bytes();
    expect(events).toEqual([]);
    const whole = await open();
    await whole.check(keyBytes(value.key.words));
    await whole.bytes();
    expect(events).toEqual(["verified"]);
  });

  test("a record under another key, or none, is refused by the check", async () => {
    const content = await open();
    expect(await content.check(random.bytes(32))).toBe(false);
    content.close();
  });

  test.each([
    ["its header", 20],
    ["its key", 45],
    ["the chunk that is asked for", RECORD_HEADER_BYTES + 10],
    ["the checksum of that chunk", RECORD_HEADER_BYTES + LARGE_BYTES],
  ])("I6: damage in %s is seen by the check, before a byte is given out", async (_, at) => {
    damage(at);
    const content = await open();
    expect(await content.check(keyBytes(value.key.words))).toBe(false);
    content.close();
    expect(events).not.toContain("verified");
  });

  test("I6: damage in a later chunk breaks the stream off before a byte of that chunk", async () => {
    damage(RECORD_HEADER_BYTES + CHUNK_BYTES + 5);
    const content = await open();
    expect(await content.check(keyBytes(value.key.words))).toBe(true);
    const given = createHash("sha256");
    let givenBytes = 0;
    const reading = (async () => {
      for await (const piece of content) {
        given.update(piece);
        givenBytes += piece.length;
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: "not_found" });
    expect(givenBytes).toBe(CHUNK_BYTES);
    expect(given.digest("hex")).toBe(createHash("sha256").update(value.bytes.subarray(0, CHUNK_BYTES)).digest("hex"));
    expect(events).toEqual(["corrupt"]);
  });

  test.each(["read", "readAsync"])("H8: an error of %s is told as a miss", async (call) => {
    if (call === "readAsync") promptReads = pausedReads();
    const content = await open({ offset: 0 }, true);
    shard.fileSystem.failOnce(({ name }) => name === call, "EIO", 2);
    await expect(content.bytes()).rejects.toMatchObject({ code: "not_found" });
    expect(events).toEqual(["corrupt"]);
  });

  test("closing it in the middle of a read neither takes the descriptor from under the read nor calls it damage", async () => {
    shard.fileSystem.delayTurns = 3;
    const content = await open();
    const reading = content.bytes();
    readers.closeAll();
    content.close();
    await expect(reading).rejects.toMatchObject({ code: "cancelled" });
    expect(events).toEqual([]);
    await expect(content.bytes()).rejects.toMatchObject({ code: "cancelled" });
  });
});

describe("SegmentReaders", () => {
  const openReaders = (): number => shard.fileSystem.openFiles.length - 1;

  test("keep a pinned descriptor open when its segment is retired, and close it with the last pin", async () => {
    const content = await open();
    const second = await readers.pin(1);
    readers.retire(1);
    expect(openReaders()).toBe(1);
    await content.check(keyBytes(value.key.words));
    expect(Buffer.from(await content.bytes()).equals(value.bytes)).toBe(true);
    expect(openReaders()).toBe(1);
    second.unpin();
    second.unpin();
    await expect.poll(openReaders).toBe(0);
  });

  test("open a segment once for many who ask at the same time", async () => {
    shard.fileSystem.delayTurns = 2;
    const pins = await Promise.all([readers.pin(1), readers.pin(1), readers.pin(1)]);
    expect(shard.fileSystem.history("openAsync")).toHaveLength(1);
    for (const pin of pins) pin.unpin();
    readers.closeAll();
    await expect.poll(openReaders).toBe(0);
  });

  test("keep no more than so many open, the least recently used go first, and pinned ones stay", async () => {
    const few = new SegmentReaders(shard.fileSystem, shard.paths.segments, 2);
    for (let i = 0; i < 5; i += 1) {
      shard.put(...Array.from({ length: 12 }, () => randomContent(random, 90_000)));
    }
    const ids = shard.segmentIds().slice(0, 5);
    expect(ids.length).toBe(5);
    const before = shard.fileSystem.openFiles.length;
    const pinned = await few.pin(ids[0]!);
    for (const id of ids) (await few.pin(id)).unpin();
    await expect.poll(() => shard.fileSystem.openFiles.length - before).toBe(2);
    const opened = shard.fileSystem.history("openAsync").length;
    (await few.pin(ids[0]!)).unpin();
    (await few.pin(ids[4]!)).unpin();
    expect(shard.fileSystem.history("openAsync")).toHaveLength(opened);
    pinned.unpin();
    few.closeAll();
    await expect.poll(() => shard.fileSystem.openFiles.length - before).toBe(0);
  });

  test("a segment that is gone is told so each time, and an open that failed is tried again", async () => {
    await expect(readers.pin(999)).rejects.toMatchObject({ code: "ENOENT" });
    shard.fileSystem.before = ({ name }) => {
      if (name === "openAsync") throw fileError("EMFILE");
    };
    await expect(Promise.all([readers.pin(1), readers.pin(1)])).rejects.toMatchObject({ code: "EMFILE" });
    shard.fileSystem.before = () => undefined;
    (await readers.pin(1)).unpin();
    readers.closeAll();
    await expect.poll(openReaders).toBe(0);
  });
});
