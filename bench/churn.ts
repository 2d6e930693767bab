/**
 * `npm run bench:churn -- --max-size 1GiB --times 10`: writes ten times the budget through the engine and shows what
 * retirement costs. A blob in twenty is leased when it is written; all leased ones must be there at the end, and the
 * directory, sampled throughout, must never be larger than the budget.
 */
import { randomBytes } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { hash } from "node:crypto";
import { casKey, type EntryKey } from "../src/cache/entry-key.ts";
import { StorageEngine } from "../src/storage/storage-engine.ts";
import { makeTemporaryDirectory } from "../test/support/temporary-directory.ts";
import { parseByteSize } from "./byte-size.ts";

const BLOB_BYTES = 128 * 1024;
const WRITERS = 32;
const LEASED_ONE_IN = 20;
/** Leases that the budget can honour: each is copied once a round. */
const LEASED_SHARE_MAX = 0.1;
const SAMPLE_MS = 50;

const { values } = parseArgs({
  options: { "max-size": { type: "string", default: "1GiB" }, times: { type: "string", default: "10" } },
});
const maxBytes = parseByteSize(values["max-size"]);
const totalBytes = maxBytes * Number(values.times);

await using directory = await makeTemporaryDirectory("churn");
const complain = (fields: object, message: string): void => console.error(message, fields);
await using store = await StorageEngine.open({
  directory: directory.path,
  maxBytes,
  shardCount: 2,
  durability: "commit",
  minLeaseMs: 3_600_000,
  logger: { info: () => undefined, warn: complain, error: complain },
});

let peakBytes = 0;
let samples = 0;
const sampler = setInterval(() => {
  peakBytes = Math.max(peakBytes, directoryBytes(directory.path));
  samples += 1;
}, SAMPLE_MS);

const content = randomBytes(BLOB_BYTES);
const leased: EntryKey[] = [];
let written = 0;
const marks: { bytes: number; atMs: number }[] = [];

async function writer(): Promise<void> {
  while (written * BLOB_BYTES < totalBytes) {
    const number = written;
    written += 1;
    if (number % 512 === 0) marks.push({ bytes: number * BLOB_BYTES, atMs: performance.now() });
    // Unlike any other by its first bytes; the rest is random and the same, which nothing here can profit from.
    const bytes = Buffer.from(content);
    bytes.writeDoubleLE(number, 0);
    const key = casKey({ fn: "sha256", hash: hash("sha256", bytes, "hex"), sizeBytes: bytes.length });
    await store.put(key, bytes);
    if (number % LEASED_ONE_IN !== 0 || leased.length * BLOB_BYTES > maxBytes * LEASED_SHARE_MAX) continue;
    store.find(key, { renew: true });
    leased.push(key);
  }
}

await Promise.all(Array.from({ length: WRITERS }, () => writer()));
clearInterval(sampler);

const lost = leased.filter((key) => !store.peek(key)).length;
const { totals } = store.stats();
// Before the first retirement, and the second half of the run, when every write pays for one.
const emptyRate = rate(0, maxBytes * 0.7);
const churnRate = rate(totalBytes / 2, totalBytes);
console.log(
  `written ${(totalBytes / 2 ** 30).toFixed(1)} GiB in blobs of 128 KiB, ${WRITERS} writers, durability commit`,
);
console.log(
  `rate on an empty store ${emptyRate.toFixed(0)} MB/s, in steady retirement ${churnRate.toFixed(0)} MB/s: ${((churnRate / emptyRate) * 100).toFixed(0)} %`,
);
console.log(
  `disk: budget ${maxBytes}, largest of ${samples} samples ${peakBytes} (${((peakBytes / maxBytes) * 100).toFixed(1)} %)`,
);
console.log(`leased ${leased.length}, lost ${lost}, leases broken ${totals.leasesBroken}`);
console.log(`retired ${totals.retiredSegments} segments, copied ${totals.copiedRecords} records`);
if (lost > 0 || peakBytes > maxBytes) process.exitCode = 1;

/** MB/s between two amounts written. */
function rate(fromBytes: number, toBytes: number): number {
  const inside = marks.filter(({ bytes }) => bytes >= fromBytes && bytes <= toBytes);
  const [first, last] = [inside[0], inside.at(-1)];
  if (first === undefined || last === undefined) return Number.NaN;
  return (last.bytes - first.bytes) / 1e6 / ((last.atMs - first.atMs) / 1000);
}

function directoryBytes(path: string): number {
  let bytes = 0;
  for (const entry of readdirSync(path, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    try {
      bytes += statSync(join(entry.parentPath, entry.name)).size;
    } catch {
      // Gone between the listing and the look.
    }
  }
  return bytes;
}
