import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DIGEST_FUNCTIONS, type DigestFunctionName } from "../../src/cache/digest.ts";
import { actionResult, outputFile } from "../support/action-results.ts";
import { CacheClient } from "../support/cache-client.ts";
import { digestOf } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";

const FUNCTIONS = Object.keys(DIGEST_FUNCTIONS) as DigestFunctionName[];
const random = seededRandom(testSeed("digest functions over gRPC"));
const hashBytes = (fn: DigestFunctionName): number => DIGEST_FUNCTIONS[fn].hashBytes;
let directory: TemporaryDirectory;
let server: ServerProcess;
let client: CacheClient;

beforeAll(async () => {
  directory = await makeTemporaryDirectory("digest-functions");
  server = await ServerProcess.start({ directory: directory.path });
  client = new CacheClient(server.endpoint);
});
afterAll(async () => {
  client[Symbol.dispose]();
  await server.stop();
  await directory[Symbol.asyncDispose]();
});

describe.each(FUNCTIONS)("under %s", (fn) => {
  test("ByteStream, FindMissing and the batch calls know the same blobs", async () => {
    const written = random.bytes(300_000);
    const batched = random.bytes(3000);
    const digests = [written, batched].map((bytes) => digestOf(bytes, fn));
    const [writtenDigest, batchedDigest] = digests as [(typeof digests)[0], (typeof digests)[0]];
    expect(await client.findMissing(digests)).toEqual(new Set(digests.map(({ hash }) => hash)));
    expect(await client.write(written, { digest: writtenDigest })).toBe(written.length);
    expect(await client.batchUpdate([{ digest: batchedDigest, data: batched }])).toMatchObject({
      responses: [{ status: { code: 0 } }],
    });
    expect(await client.findMissing(digests)).toEqual(new Set());
    expect((await client.read(writtenDigest)).equals(written)).toBe(true);
    expect((await client.read(batchedDigest, { offset: 10, limit: 20 })).equals(batched.subarray(10, 30))).toBe(true);
    const { responses } = await client.batchRead(digests);
    expect(responses.map(({ data }) => data)).toEqual([written, batched]);
  });

  test("wrong bytes are refused", async () => {
    const digest = digestOf(random.bytes(2000), fn);
    await expect(client.write(random.bytes(2000), { digest })).rejects.toThrow(/INVALID_ARGUMENT.*hash: expected/);
    expect(await client.findMissing([digest])).toEqual(new Set([digest.hash]));
  });

  test("the empty blob is there", async () => {
    const empty = digestOf(Buffer.alloc(0), fn);
    expect(await client.findMissing([empty])).toEqual(new Set());
    expect(await client.read(empty)).toHaveLength(0);
  });

  test("an action result is a hit once its output is there, and only under its own function", async () => {
    const output = random.bytes(500);
    const digest = digestOf(output, fn);
    const action = digestOf(random.bytes(100), fn);
    const result = actionResult({ output_files: [outputFile("out", digest)] });
    await client.updateActionResult(action, result);
    expect(await client.getActionResult(action)).toBeUndefined();
    await client.write(output, { digest });
    expect(await client.getActionResult(action)).toMatchObject({ output_files: [{ path: "out" }] });
    const twins = FUNCTIONS.filter((other) => hashBytes(other) === hashBytes(fn) && other !== fn);
    for (const twin of twins) expect(await client.getActionResult({ ...action, fn: twin })).toBeUndefined();
  });
});

test("H19: a hit under one function is none under another, where all hashes are the same", async () => {
  const [output, command] = [random.bytes(500), random.bytes(100)];
  for (const fn of ["sha256", "sha256tree"] as const) {
    await client.updateActionResult(
      digestOf(command, fn),
      actionResult({ output_files: [outputFile("out", digestOf(output, fn))] }),
    );
  }
  await client.write(output, { digest: digestOf(output, "sha256") });
  expect(digestOf(output, "sha256tree").hash).toBe(digestOf(output, "sha256").hash);
  // Twice: what a result refers to is remembered.
  for (let i = 0; i < 2; i++) {
    expect(await client.getActionResult(digestOf(command, "sha256"))).toBeDefined();
    expect(await client.getActionResult(digestOf(command, "sha256tree"))).toBeUndefined();
  }
});
