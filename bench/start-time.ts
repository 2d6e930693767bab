/**
 * `npm run bench:start -- --entries 10000000 --runs 3`: how long from exec to `listening` with so many entries, by
 * the footers alone and by the checkpoint, and what an entry costs in memory. The directory is synthetic: segments
 * with real headers and footers whose payloads are holes, which a start never reads.
 */
import { keyWords } from "../src/cache/key-words.ts";
import { randomBytes, randomInt } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { casKey } from "../src/cache/entry-key.ts";
import { shardOfKey } from "../src/storage/index/index-layout.ts";
import { segmentPath } from "../src/storage/segment/segment-file.ts";
import {
  encodeFooter,
  encodeSegmentHeader,
  FORMAT_VERSION,
  type PlacedRecord,
  recordBytes,
  SEGMENT_HEADER_BYTES,
} from "../src/storage/segment/segment-format.ts";
import { StorePaths } from "../src/storage/store-paths.ts";
import { ServerProcess } from "../test/support/server-process.ts";
import { makeTemporaryDirectory } from "../test/support/temporary-directory.ts";

const SHARDS = 2;
const RECORDS_PER_SEGMENT = 100_000;
const STORED_BYTES = 1024;
const MIB = 1024 * 1024;

const { values } = parseArgs({
  options: { entries: { type: "string", default: "1000000" }, runs: { type: "string", default: "3" } },
});
const entryCount = Number(values.entries);
const runs = Number(values.runs);

await using directory = await makeTemporaryDirectory("start");
writeSyntheticStore(directory.path, entryCount);
const idleMib = await measure(join(directory.path, "empty"), 1).then(({ rssMib }) => rssMib);

console.log("start by      entries   listening ms   RSS MiB   bytes/entry");
report("footers", await measureRuns(() => dropCheckpoint(directory.path)));
// Closing the last one has written the checkpoint.
report("checkpoint", await measureRuns(() => undefined));

interface Start {
  readonly listeningMs: number;
  readonly rssMib: number;
}

async function measureRuns(prepare: () => void): Promise<Start> {
  const starts: Start[] = [];
  for (let run = 0; run < runs; run += 1) {
    prepare();
    starts.push(await measure(directory.path, 60));
  }
  return {
    listeningMs: medianOf(starts.map((start) => start.listeningMs)),
    rssMib: medianOf(starts.map((start) => start.rssMib)),
  };
}

async function measure(path: string, stopSeconds: number): Promise<Start> {
  const startedAtMs = performance.now();
  const options = { directory: path, maxSize: "200GiB", shards: SHARDS, extraArguments: ["--scrub-rate", "0"] };
  await using server = await ServerProcess.start({ ...options, startTimeoutMs: 120_000 });
  const listeningMs = performance.now() - startedAtMs;
  const rssKib = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]);
  await server.stop(stopSeconds * 1000);
  return { listeningMs, rssMib: rssKib / 1024 };
}

function report(name: string, { listeningMs, rssMib }: Start): void {
  const bytesPerEntry = ((rssMib - idleMib) * MIB) / entryCount;
  const cells = [
    name.padEnd(12),
    `${entryCount}`.padStart(9),
    listeningMs.toFixed(0).padStart(14),
    rssMib.toFixed(0).padStart(9),
  ];
  console.log([...cells, bytesPerEntry.toFixed(1).padStart(13)].join(" "));
}

function medianOf(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

function dropCheckpoint(root: string): void {
  rmSync(new StorePaths(root).checkpoint, { recursive: true, force: true });
}

function writeSyntheticStore(root: string, count: number): void {
  const { segments } = new StorePaths(root);
  mkdirSync(segments, { recursive: true });
  const waiting: Buffer[][] = Array.from({ length: SHARDS }, () => []);
  let segmentId = 1;
  let sequence = 1;
  const flush = (shardIndex: number): void => {
    const keys = waiting[shardIndex]?.splice(0) ?? [];
    const records: PlacedRecord[] = keys.map((key, i) => ({
      space: casKey({ fn: "sha256", hash: "", sizeBytes: 0 }).space,
      encoding: 0,
      sequence: sequence + i,
      writtenAtMs: 0,
      sizeBytes: STORED_BYTES,
      storedBytes: STORED_BYTES,
      owner: 0,
      key,
      offset: SEGMENT_HEADER_BYTES + i * recordBytes(STORED_BYTES),
    }));
    sequence += records.length;
    const end = SEGMENT_HEADER_BYTES + records.length * recordBytes(STORED_BYTES);
    const fd = openSync(segmentPath(segments, segmentId), "wx");
    const identity = { segmentId, shardIndex, shardCount: SHARDS, createdAtMs: Date.now(), nonce: randomInt(2 ** 32) };
    writeSync(fd, encodeSegmentHeader({ version: FORMAT_VERSION, ...identity }), 0, SEGMENT_HEADER_BYTES, 0);
    const footer = encodeFooter(records, end, identity.nonce);
    writeSync(fd, footer, 0, footer.length, end);
    closeSync(fd);
    segmentId += 1;
  };
  for (let i = 0; i < count; i += 1) {
    const key = randomBytes(32);
    const shardIndex = shardOfKey(keyWords(key), SHARDS);
    const keys = waiting[shardIndex];
    keys?.push(key);
    if (keys?.length === RECORDS_PER_SEGMENT) flush(shardIndex);
  }
  for (const shardIndex of waiting.keys()) flush(shardIndex);
}
