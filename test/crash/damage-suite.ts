import { closeSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "../../src/cache/digest.ts";
import { nodeFileSystem } from "../../src/storage/file-system.ts";
import { readSegmentHeader } from "../../src/storage/segment/segment-recovery.ts";
import { CacheClient, CacheClients, digestOf } from "../support/cache-client.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { ServerProcess, type ServerProcessOptions } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { CrashSuite } from "./crash-suite.ts";
import { UploadLog } from "./crash-workload.ts";
import { comesTrue, type Findings, httpStatus, metricSum, scenario, upload } from "./scenario.ts";

const KIB = 1024;
const COLUMNS = ["blobs", "damaged", "hits", "misses", "quarantined"] as const;
const QUARANTINED = "kura_engine_shard_quarantined_records";
const EXTRA_ARGUMENTS = ["--segment-size", "256KiB", "--shards", "2"];

/** What a client is told about blobs that the disk has lost or changed: a miss, and never a wrong byte (H6, H8). */
export const damageSuite: CrashSuite = {
  title: "damage: segment files that are gone or changed",
  columns: COLUMNS,
  programs: [],
  mounts: false,
  cycles: { short: 1, long: 10 },
  async *run({ cycles, seed }) {
    for (let cycle = 0; cycle < cycles; cycle++) {
      for (const [name, run] of Object.entries(CASES)) {
        const random = seededRandom(`${seed}/${name}/${cycle}`);
        yield await scenario(name, (findings) => onFilledStore(random, run, findings), COLUMNS.length);
      }
    }
  },
};

interface FilledStore {
  readonly options: ServerProcessOptions;
  readonly segments: string;
  readonly contents: ReadonlyMap<string, Buffer>;
  readonly random: SeededRandom;
  readonly findings: Findings;
}

const CASES: Readonly<Record<string, (store: FilledStore) => Promise<number[]>>> = {
  "segments removed while the server runs": segmentsRemovedWhileRunning,
  "segments removed before a start": segmentsRemovedBeforeStart,
  "bytes flipped before a start": (store) => bytesFlipped(store, "before"),
  "bytes flipped after a start, before the first read": (store) => bytesFlipped(store, "after"),
  "bytes flipped under blobs that were read: found by the scrub": bytesFlippedUnderScrub,
};

/** Many small segments, sealed by an orderly stop. */
async function onFilledStore(
  random: SeededRandom,
  run: (store: FilledStore) => Promise<number[]>,
  findings: Findings,
): Promise<number[]> {
  await using directory = await makeTemporaryDirectory("damage");
  const options = { directory: directory.path, extraArguments: EXTRA_ARGUMENTS };
  const contents = new Map<string, Buffer>();
  {
    await using server = await ServerProcess.start(options);
    using clients = new CacheClients(server.endpoint, 4);
    const blobs = Array.from({ length: 120 }, () => random.bytes(random.int(1, 60 * KIB)));
    for (const content of blobs) contents.set(digestOf(content).hash, content);
    await Promise.all(blobs.map((content, number) => clients.at(number).write(content)));
    await server.stop();
  }
  return await run({ options, segments: join(directory.path, "segments"), contents, random, findings });
}

/** Reads every blob: hits must have the right bytes; some must be misses, and neither kind an error. */
async function readAll(
  server: ServerProcess,
  { contents, findings }: FilledStore,
): Promise<{ hits: number; misses: Digest[] }> {
  using client = new CacheClient(server.endpoint);
  let hits = 0;
  const misses: Digest[] = [];
  for (const content of contents.values()) {
    const digest = digestOf(content);
    try {
      const bytes = await client.readIfPresent(digest);
      if (bytes === undefined) misses.push(digest);
      else {
        findings.expect(bytes.equals(content), `WRONG BYTES served for ${digest.hash}`);
        hits++;
      }
    } catch (error) {
      findings.expect(false, `expected a hit or NOT_FOUND, got ${String(error)}`);
    }
  }
  findings.expect((await httpStatus(server, "/readyz")) === 200, "/readyz is not 200");
  return { hits, misses };
}

/** A miss is found as one, is counted, and can be uploaded again. */
async function expectMended(server: ServerProcess, store: FilledStore, misses: readonly Digest[]): Promise<void> {
  const { findings, contents, random } = store;
  using client = new CacheClient(server.endpoint);
  const missing = await client.findMissing(misses);
  findings.expect(missing.size === misses.length, `FindMissingBlobs still has ${misses.length - missing.size} misses`);
  for (const digest of misses) await client.write(contents.get(digest.hash) ?? Buffer.alloc(0), { digest });
  const again = await readAll(server, store);
  findings.expect(again.misses.length === 0, `${again.misses.length} misses after a second upload`);
  const { refusedCount } = await upload(server, random, [100, 50 * KIB], new UploadLog());
  findings.expect(refusedCount === 0, "uploads are refused");
}

/**
 * Sealed segments, oldest first. The newest of each shard is left out: a start goes on appending to it, and a server
 * cannot see that the file which it has open has no name any more.
 */
function sealedSegments(segments: string): string[] {
  const newestOfShard = new Map<number | undefined, string>();
  const names = readdirSync(segments).toSorted();
  for (const name of names) {
    newestOfShard.set(readSegmentHeader(nodeFileSystem, join(segments, name))?.shardIndex, name);
  }
  const resumable = new Set(newestOfShard.values());
  return names.filter((name) => !resumable.has(name));
}

function someSegments({ segments, random }: FilledStore): string[] {
  const names = sealedSegments(segments);
  return names.filter((_, number) => number === 0 || random.int(0, 2) === 0).map((name) => join(segments, name));
}

async function segmentsRemovedWhileRunning(store: FilledStore): Promise<number[]> {
  await using server = await ServerProcess.start(store.options);
  const removed = someSegments(store);
  for (const path of removed) rmSync(path);
  return await reportAndMend(server, store, removed.length);
}

async function segmentsRemovedBeforeStart(store: FilledStore): Promise<number[]> {
  const removed = someSegments(store);
  for (const path of removed) rmSync(path);
  await using server = await ServerProcess.start(store.options);
  return await reportAndMend(server, store, removed.length, false);
}

async function reportAndMend(
  server: ServerProcess,
  store: FilledStore,
  damaged: number,
  isCounted = true,
): Promise<number[]> {
  const { hits, misses } = await readAll(server, store);
  store.findings.expect(misses.length > 0, "nothing was a miss");
  store.findings.expect(hits > 0, "nothing was a hit");
  const enough = async (): Promise<boolean> => (await metricSum(server, QUARANTINED)) >= misses.length;
  if (isCounted) store.findings.expect(await comesTrue(enough), `fewer than ${misses.length} counted as quarantined`);
  const quarantined = await metricSum(server, QUARANTINED);
  await expectMended(server, store, misses);
  return [store.contents.size, damaged, hits, misses.length, quarantined];
}

/** Flips one bit somewhere in the payload of some of the blobs in these segments. @returns how many. */
function flipBits({ segments, contents, random }: FilledStore, names = readdirSync(segments)): number {
  let count = 0;
  const chosen = [...contents.values()].filter(() => random.int(0, 3) === 0);
  for (const name of names) {
    const path = join(segments, name);
    const bytes = readFileSync(path);
    for (const content of chosen) {
      const start = bytes.indexOf(content.subarray(0, Math.min(64, content.length)));
      // Tiny ones may be found by chance in the middle of others.
      if (content.length < 64 || start === -1) continue;
      flipBit(path, start + random.int(0, content.length - 1), random.int(0, 7));
      count++;
    }
  }
  return count;
}

function flipBit(path: string, offset: number, bit: number): void {
  const fd = openSync(path, "r+");
  try {
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, offset);
    byte.writeUInt8(byte.readUInt8(0) ^ (1 << bit), 0);
    writeSync(fd, byte, 0, 1, offset);
  } finally {
    closeSync(fd);
  }
}

async function bytesFlipped(store: FilledStore, when: "before" | "after"): Promise<number[]> {
  let flipped = when === "before" ? flipBits(store) : 0;
  await using server = await ServerProcess.start({
    ...store.options,
    extraArguments: [...EXTRA_ARGUMENTS, "--scrub-rate", "0"],
  });
  if (when === "after") flipped = flipBits(store);
  const figures = await reportAndMend(server, store, flipped);
  store.findings.expect(figures[3] === flipped, `${flipped} blobs damaged, ${figures[3]} misses`);
  return figures;
}

/** What was read once is not checked again at every read; the scrub is what finds damage that comes later. */
async function bytesFlippedUnderScrub(store: FilledStore): Promise<number[]> {
  await using server = await ServerProcess.start({
    ...store.options,
    extraArguments: [...EXTRA_ARGUMENTS, "--scrub-rate", "64MiB"],
  });
  const before = await readAll(server, store);
  store.findings.expect(before.misses.length === 0, "misses before any damage");
  // The scrub goes round the sealed ones.
  const flipped = flipBits(store, sealedSegments(store.segments));
  const found = async (): Promise<boolean> => (await metricSum(server, QUARANTINED)) >= flipped;
  store.findings.expect(await comesTrue(found), "the scrub did not find the damage in 30 s");
  return await reportAndMend(server, store, flipped);
}
