import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CHUNKING_FUNCTIONS, type Chunking, CHUNKINGS } from "../../src/cache/chunking/chunking.ts";
import { ContentScan } from "../../src/cache/chunking/content-scan.ts";
import type { Digest } from "../../src/cache/digest.ts";
import { expectSameBytes } from "../contract/entry-store-contract.ts";
import { actionResult, outputFile } from "../support/action-results.ts";
import { CacheClient, wireDigest } from "../support/cache-client.ts";
import { type CasContent, contentOf, digestOf, randomContents } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";

const MIB = 1024 * 1024;
const { unknown, repMaxCdc } = CHUNKING_FUNCTIONS;
const random = seededRandom(testSeed("chunked blobs over gRPC"));
let directory: TemporaryDirectory;
let server: ServerProcess;
let client: CacheClient;

beforeAll(async () => {
  directory = await makeTemporaryDirectory("chunked-blobs");
  await restart();
});
afterAll(async () => {
  client[Symbol.dispose]();
  await server.stop();
  await directory[Symbol.asyncDispose]();
});

async function restart(): Promise<void> {
  server = await ServerProcess.start({ directory: directory.path });
  client = new CacheClient(server.endpoint);
}

/** What a client does with a file before it uploads it. */
function chunksOf({ bytes, digest: { fn, sizeBytes } }: CasContent, chunking: Chunking): Map<Digest, Buffer> {
  const scan = new ContentScan({ fn, sizeBytes, wantsHash: false, chunking });
  scan.update(bytes);
  let offset = 0;
  return new Map(scan.finish().chunks.map((chunk) => [chunk, bytes.subarray(offset, (offset += chunk.sizeBytes))]));
}

describe.each([
  { fn: "sha256", name: "FastCDC 2020", chunking: CHUNKINGS[0], fileBytes: 64 * MIB },
  { fn: "blake3", name: "RepMaxCDC", chunking: CHUNKINGS[1], fileBytes: 16 * MIB },
] as const)("under $fn and $name", ({ fn, chunking, fileBytes }) => {
  test("a large file edited in the middle costs less than 3 MiB to upload, and is a file like any other", async () => {
    // Always the same file: at the median an edit changes 1.2 average chunks, but in 8 of 1000 random files more than 6.
    const fixed = seededRandom("a large file");
    const before = contentOf(fixed.bytes(fileBytes), fn);
    await client.write(before.bytes, { digest: before.digest, messageBytes: MIB });
    const split = await client.splitBlob(before.digest, chunking.function);
    expect(split.chunk_digests).toEqual([...chunksOf(before, chunking).keys()].map(wireDigest));
    expect(split.chunking_function).toBe(chunking.function);

    const middle = fileBytes / 2;
    const after = contentOf(
      Buffer.concat([before.bytes.subarray(0, middle), fixed.bytes(1000), before.bytes.subarray(middle + 10)]),
      fn,
    );
    const chunks = chunksOf(after, chunking);
    const missing = await client.findMissing([...chunks.keys()]);
    let uploadedBytes = 0;
    for (const [digest, bytes] of chunks) {
      if (missing.has(digest.hash)) uploadedBytes += await client.write(bytes, { digest, messageBytes: MIB });
    }
    expect(uploadedBytes).toBeGreaterThan(0);
    expect(uploadedBytes).toBeLessThan(3 * MIB);
    expect(await client.findMissing([after.digest])).toEqual(new Set([after.digest.hash]));
    expect(await client.spliceBlob(after.digest, [...chunks.keys()], chunking.function)).toEqual({
      blob_digest: wireDigest(after.digest),
    });

    const action = digestOf(random.bytes(10), fn);
    await client.updateActionResult(action, actionResult({ output_files: [outputFile("out", after.digest)] }));
    const expectAsAnyOther = async (): Promise<void> => {
      expect(await client.findMissing([after.digest])).toEqual(new Set());
      expectSameBytes(await client.read(after.digest), after.bytes);
      const range = { offset: middle - 5, limit: 3 * MIB };
      expectSameBytes(await client.read(after.digest, range), after.bytes.subarray(middle - 5, middle - 5 + 3 * MIB));
      expect(await client.getActionResult(action)).toMatchObject({ output_files: [{ path: "out" }] });
      expect(await client.write(after.bytes, { digest: after.digest })).toBe(after.bytes.length);
    };
    await expectAsAnyOther();
    client[Symbol.dispose]();
    await server.stop();
    await restart();
    await expectAsAnyOther();
    expect((await client.splitBlob(after.digest, chunking.function)).chunk_digests).toEqual(
      [...chunks.keys()].map(wireDigest),
    );
  });

  test("a small spliced blob comes in batches, too", async () => {
    const chunks = randomContents(random, [1000, 2000], fn);
    const blob = contentOf(Buffer.concat(chunks.map(({ bytes }) => bytes)), fn);
    await client.batchUpdate(chunks.map(({ digest, bytes }) => ({ digest, data: bytes })));
    const digests = chunks.map(({ digest }) => digest);
    await client.spliceBlob(blob.digest, digests, unknown);
    expect((await client.batchRead([blob.digest])).responses[0]?.data).toEqual(blob.bytes);
    expect(await client.splitBlob(blob.digest, unknown)).toEqual({
      chunk_digests: digests.map(wireDigest),
      chunking_function: unknown,
    });
    // Smaller than the largest chunk: it is its own.
    expect((await client.splitBlob(blob.digest, chunking.function)).chunk_digests).toEqual([wireDigest(blob.digest)]);
  });

  test("what is wrong or missing is said so", async () => {
    const [first, second, absent] = randomContents(random, [1000, 2000, 3000], fn).map(({ digest, bytes }) => {
      return { digest, bytes };
    }) as [CasContent, CasContent, CasContent];
    await client.batchUpdate([first, second].map(({ digest, bytes }) => ({ digest, data: bytes })));
    const blob = contentOf(Buffer.concat([first.bytes, second.bytes]), fn).digest;
    const { INVALID_ARGUMENT, NOT_FOUND } = status;
    for (const [action, code] of [
      [() => client.splitBlob(absent.digest, unknown), NOT_FOUND],
      [() => client.splitBlob({ ...absent.digest, sizeBytes: 64 * MIB }, repMaxCdc), NOT_FOUND],
      [() => client.splitBlob({ ...absent.digest, hash: "0" }, unknown), INVALID_ARGUMENT],
      [() => client.spliceBlob({ ...blob, sizeBytes: 4000 }, [first.digest, absent.digest], unknown), NOT_FOUND],
      [() => client.spliceBlob(blob, [second.digest, first.digest], unknown), INVALID_ARGUMENT],
      [() => client.spliceBlob(blob, [first.digest], unknown), INVALID_ARGUMENT],
      [() => client.spliceBlob(blob, [first.digest, { ...second.digest, hash: "0" }], unknown), INVALID_ARGUMENT],
      [() => client.spliceBlob({ ...blob, sizeBytes: 2 ** 50 }, [first.digest], unknown), INVALID_ARGUMENT],
    ] as const) {
      await expect(action()).rejects.toMatchObject({ code });
    }
    expect(await client.findMissing([blob])).toEqual(new Set([blob.hash]));
  });
});
