/**
 * `npm run bench:memory -- --size 4GiB [--only bomb|identity|zstd]`: how much memory the server takes for one large blob up and down, as it is and as
 * zstd, and for zstd data that expands to far more than it says. Fails where it is more than is promised.
 */
import { createHash, randomUUID } from "node:crypto";
import { pipeline, Readable } from "node:stream";
import { parseArgs } from "node:util";
import { constants, createZstdCompress, zstdCompressSync } from "node:zlib";
import type { Digest } from "../src/cache/digest.ts";
import type { Encoding } from "../src/cache/encoding.ts";
import { CacheClient } from "../test/support/cache-client.ts";
import { seededRandom } from "../test/support/seeded-random.ts";
import { ServerProcess } from "../test/support/server-process.ts";
import { makeTemporaryDirectory } from "../test/support/temporary-directory.ts";
import { parseByteSize } from "./byte-size.ts";
import { ProcessMeter } from "./process-meter.ts";

const MIB = 1024 * 1024;
const BLOB_RISE_MIB_MAX = 128;
const BOMB_RISE_MIB_MAX = 64;
const BOMB_BYTES = 10 * 1024 * MIB;

const { values } = parseArgs({ options: { size: { type: "string", default: "4GiB" }, only: { type: "string" } } });
const blobBytes = parseByteSize(values.size);
let failed = false;

/** Hexadecimal digits: half of their size as zstd. The same ones each time. */
async function* blob(sizeBytes: number): AsyncGenerator<Buffer> {
  const random = seededRandom("memory");
  for (let at = 0; at < sizeBytes; at += MIB) yield Buffer.from(random.bytes(MIB / 2).toString("hex"), "latin1");
}

async function digestOf(content: AsyncIterable<Buffer>, sizeBytes: number): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const chunk of content) hash.update(chunk);
  return { fn: "sha256", hash: hash.digest("hex"), sizeBytes };
}

/** A frame of zeros again and again, and 1 MiB in all. */
async function* bomb(): AsyncGenerator<Buffer> {
  const frame = zstdCompressSync(Buffer.alloc(64 * MIB));
  const frames = Buffer.concat(Array.from({ length: BOMB_BYTES / (64 * MIB) }, () => frame));
  const padding = Buffer.alloc(MIB - frames.length);
  padding.writeUInt32LE(0x184d2a50, 0);
  padding.writeUInt32LE(padding.length - 8, 4);
  yield Buffer.concat([padding, frames]);
}

function compressed(content: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const encoder = createZstdCompress({ chunkSize: MIB, params: { [constants.ZSTD_c_compressionLevel]: 1 } });
  return pipeline(Readable.from(content, { highWaterMark: 2 }), encoder, () => undefined);
}

/** What the server takes at the peak, beyond what it had before. */
async function measured(server: ServerProcess, what: string, riseMibMax: number, run: () => Promise<string>) {
  const startMs = performance.now();
  using meter = new ProcessMeter(server.pid);
  const before = meter.rssPeakMib;
  const outcome = await run();
  const rise = meter.rssPeakMib - before;
  const seconds = (performance.now() - startMs) / 1000;
  console.log(
    `${what.padEnd(45)}${outcome.padEnd(22)}${seconds.toFixed(1).padStart(6)} s  server CPU ${meter.cpuSeconds.toFixed(1)} s  ` +
      `RSS ${before.toFixed(0)} MiB, at the peak ${rise.toFixed(0)} MiB more (at most ${riseMibMax})`,
  );
  if (rise >= riseMibMax) failed = true;
}

async function upAndDown(encoding: Encoding, readings: readonly Encoding[]): Promise<void> {
  await using directory = await makeTemporaryDirectory("memory");
  const maxSize = `${Math.ceil((6 * blobBytes) / MIB)}MiB`;
  await using server = await ServerProcess.start({ directory: directory.path, maxSize });
  using client = new CacheClient(server.endpoint);
  const digest = await digestOf(blob(blobBytes), blobBytes);
  await measured(server, `${values.size} up as ${encoding}`, BLOB_RISE_MIB_MAX, async () => {
    const content = encoding === "zstd" ? compressed(blob(blobBytes)) : blob(blobBytes);
    const committed = await client.writeChunks(client.uploadName(digest, randomUUID(), encoding), content);
    return `committed ${committed}`;
  });
  for (const reading of readings) {
    await measured(server, `${values.size} down as ${reading}`, BLOB_RISE_MIB_MAX, async () => {
      const hash = createHash("sha256");
      let bytes = 0;
      for await (const chunk of client.readChunks(digest, { encoding: reading })) {
        bytes += chunk.length;
        if (reading === "identity") hash.update(chunk);
      }
      if (reading === "identity" && hash.digest("hex") !== digest.hash) throw new Error("read back other bytes");
      return `${bytes} bytes`;
    });
  }
}

async function refuseBomb(): Promise<void> {
  await using directory = await makeTemporaryDirectory("memory");
  await using server = await ServerProcess.start({ directory: directory.path, maxSize: "40GiB" });
  using client = new CacheClient(server.endpoint);
  const digest = { fn: "sha256", hash: "ab".repeat(32), sizeBytes: BOMB_BYTES / 5 } as const;
  await measured(server, "1 MiB that expands to 10 GiB, said to be 2", BOMB_RISE_MIB_MAX, async () => {
    try {
      await client.writeChunks(client.uploadName(digest, randomUUID(), "zstd"), bomb());
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === 3) return "refused";
      throw error;
    }
    throw new Error("it was not refused");
  });
}

const PARTS: Readonly<Record<string, () => Promise<void>>> = {
  bomb: refuseBomb,
  identity: () => upAndDown("identity", ["identity", "zstd"]),
  zstd: () => upAndDown("zstd", ["zstd", "identity"]),
};
const wanted = values.only === undefined ? Object.values(PARTS) : [PARTS[values.only]];
for (const part of wanted) {
  if (part === undefined) throw new RangeError(`--only: expected ${Object.keys(PARTS).join(", ")}, got ${values.only}`);
  await part();
}
process.exitCode = failed ? 1 : 0;
