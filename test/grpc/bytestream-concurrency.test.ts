import { randomUUID } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { decodeZstd } from "../../src/cache/zstd/zstd-decoder.ts";
import { CacheClients, digestOf } from "../support/cache-client.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom, type SeededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { textOf } from "../support/zstd-data.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** Sizes around what storage engines and transports like to treat differently. */
const EDGE_SIZES = [0, 1, 4096, 32 * KIB, 384 * KIB, MIB, 4 * MIB].flatMap((size) => [size - 1, size, size + 1]);

const seed = testSeed("bytestream-concurrency");

/** As the outputs of a build: 1 KiB to 3 MiB with a mean of about 200 KiB, and a tenth of them around the edges. */
function blobSize(random: SeededRandom): number {
  if (random.int(0, 9) === 0) return Math.max(0, random.pick(EDGE_SIZES));
  return Math.floor(KIB * (3 * KIB) ** (random.fraction() ** 1.9));
}

/**
 * One blob for each writer; about a tenth are blobs that another writer uploads at the same time. The first one goes
 * through a temp file and ends in the middle of a write buffer, whatever the seed: with the flush before the hand-over
 * taken out, every run must fail.
 */
function makeBlobs(writers: number, random: SeededRandom, bytesOf: (sizeBytes: number) => Buffer): Buffer[] {
  const blobs: Buffer[] = [bytesOf(2 * MIB + 12_345)];
  for (let writer = 1; writer < writers; writer++) {
    const duplicate = random.int(0, 9) === 0;
    blobs.push(duplicate ? random.pick(blobs) : bytesOf(blobSize(random)));
  }
  return blobs;
}

describe.each([
  { writers: 24, connections: 1, fn: "sha256", listeners: 1, encoding: "identity" },
  { writers: 24, connections: 12, fn: "sha256", listeners: 1, encoding: "identity" },
  { writers: 339, connections: 1, fn: "sha256", listeners: 1, encoding: "identity" },
  { writers: 339, connections: 12, fn: "sha256", listeners: 1, encoding: "identity" },
  { writers: 24, connections: 12, fn: "sha256", listeners: 2, encoding: "identity" },
  { writers: 339, connections: 48, fn: "sha256", listeners: 2, encoding: "identity" },
  { writers: 24, connections: 1, fn: "blake3", listeners: 1, encoding: "identity" },
  { writers: 339, connections: 12, fn: "blake3", listeners: 1, encoding: "identity" },
  { writers: 24, connections: 1, fn: "sha256", listeners: 1, encoding: "zstd" },
  { writers: 339, connections: 12, fn: "sha256", listeners: 1, encoding: "zstd" },
  { writers: 339, connections: 48, fn: "sha256", listeners: 2, encoding: "zstd" },
  { writers: 339, connections: 12, fn: "blake3", listeners: 1, encoding: "zstd" },
] as const)("$writers writers over $connections connections, $fn, $encoding, $listeners listeners", (run) => {
  const { writers, connections, fn, listeners, encoding } = run;
  // The name is an agreed one: the first version of this server lost one upload in ten here (DESIGN 1).
  test("bytestream_writes_persist_completely_under_concurrency", async () => {
    await using directory = await makeTemporaryDirectory("concurrency");
    const serverOptions = { directory: directory.path, extraArguments: ["--listeners", `${listeners}`] };
    await using server = await ServerProcess.start(serverOptions);
    using uploading = new CacheClients(server.endpoint, connections);
    using checking = new CacheClients(server.endpoint, 2 * listeners);
    const random = seededRandom(`${seed}/${writers}/${connections}/${fn}/${encoding}`);
    // Encoded, every other one shrinks to half of its size and the others not at all.
    const isText = (): boolean => encoding === "zstd" && random.fraction() < 0.5;
    const blobs = makeBlobs(writers, random, (sizeBytes) =>
      isText() ? textOf(random, sizeBytes) : random.bytes(sizeBytes),
    );
    const whole = (data: Buffer, sizeBytes: number): Buffer =>
      encoding === "zstd" ? decodeZstd([data], sizeBytes) : data;

    const failures: string[] = [];
    const uploads = blobs.map(async (blob, writer) => {
      const digest = digestOf(blob, fn);
      const label = `writer ${writer}, ${blob.length} bytes`;
      try {
        const client = uploading.at(writer);
        const data = encoding === "zstd" ? zstdCompressSync(blob) : blob;
        const resourceName = client.uploadName(digest, randomUUID(), encoding);
        const committedBytes = await client.write(data, { digest, resourceName });
        const isPresent = encoding === "zstd" && committedBytes === -1;
        if (committedBytes !== data.length && !isPresent) failures.push(`${label}: committed_size ${committedBytes}`);
        // From another connection, at the moment of the acknowledgement.
        const readBack = await checking.at(writer).read(digest);
        if (!readBack.equals(blob)) failures.push(`${label}: read back ${readBack.length} bytes that differ`);
        const asUploaded = whole(await checking.at(writer).read(digest, { encoding }), blob.length);
        if (!asUploaded.equals(blob)) failures.push(`${label}: read back ${encoding} bytes that differ`);
      } catch (error) {
        failures.push(`${label}: ${String(error)}`);
      }
    });
    await Promise.all(uploads);

    expect(failures).toEqual([]);
    expect(await checking.at(0).findMissing(blobs.map((blob) => digestOf(blob, fn)))).toEqual(new Set());
    await server.stop();

    // What was acknowledged is still there for the next process.
    await using restarted = await ServerProcess.start(serverOptions);
    using clients = new CacheClients(restarted.endpoint, 4);
    const changed = blobs.map(async (blob, i) => !(await clients.at(i).read(digestOf(blob, fn))).equals(blob));
    expect((await Promise.all(changed)).filter(Boolean)).toEqual([]);
  });
});
