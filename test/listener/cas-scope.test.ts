import { Client, credentials } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CHUNKING_FUNCTIONS } from "../../src/cache/chunking/chunking.ts";
import { loadConfig } from "../../src/config.ts";
import { type KuraServer, startServer } from "../../src/server.ts";
import { directoryCodec } from "../../src/grpc/proto-definitions.ts";
import { serviceClient } from "../grpc/service-client.ts";
import { CacheClient, digestOf, wireDigest } from "../support/cache-client.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";

const random = seededRandom(testSeed("cas scope"));
const MIB = 1024 * 1024;
const NOT_FOUND = { code: 5 };
let directory: TemporaryDirectory;
let server: KuraServer;
let owner: CacheClient;
let stranger: CacheClient;
let nameless: CacheClient;

async function start(scope: string): Promise<void> {
  const args = ["--port", "0", "--dir", directory.path, "--max-size", "1GiB", "--shards", "2", "--cas-scope", scope];
  const invocation = loadConfig(args, {});
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  server = await startServer(invocation.config, { logger: pino({ level: "silent" }) });
  owner = new CacheClient(server.endpoint, "team/one");
  stranger = new CacheClient(server.endpoint, "team/two");
  nameless = new CacheClient(server.endpoint);
}

beforeEach(async () => {
  directory = await makeTemporaryDirectory("cas-scope");
});
afterEach(async () => {
  for (const client of [owner, stranger, nameless]) client[Symbol.dispose]();
  await server.close(0);
  await directory[Symbol.asyncDispose]();
});

async function store(bytes: Buffer, by = owner) {
  await by.write(bytes);
  return digestOf(bytes);
}

const http = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`http://${server.endpoint}/${path}`, init);

describe("with --cas-scope instance", () => {
  beforeEach(() => start("instance"));

  test("a blob is found and read by its own instance only, by every call", async () => {
    const bytes = random.bytes(100_000);
    const digest = await store(bytes);
    expect(await owner.findMissing([digest])).toEqual(new Set());
    expect((await owner.read(digest)).equals(bytes)).toBe(true);
    expect((await owner.batchRead([digest])).responses[0]?.data).toHaveLength(bytes.length);
    for (const other of [stranger, nameless]) {
      expect(await other.findMissing([digest])).toEqual(new Set([digest.hash]));
      expect(await other.readIfPresent(digest)).toBeUndefined();
      expect((await other.batchRead([digest])).responses[0]?.status).toMatchObject(NOT_FOUND);
      await expect(other.splitBlob(digest, CHUNKING_FUNCTIONS.unknown)).rejects.toMatchObject(NOT_FOUND);
      const status = await other.queryWriteStatus(other.uploadName(digest));
      expect([Number(status.committed_size), status.complete]).toEqual([0, false]);
    }
    const ownStatus = await owner.queryWriteStatus(owner.uploadName(digest));
    expect([Number(ownStatus.committed_size), ownStatus.complete]).toEqual([bytes.length, true]);
  });

  test("an upload of what another instance has is taken in full, by Write and by BatchUpdateBlobs", async () => {
    const [one, two] = [random.bytes(50_000), random.bytes(60_000)];
    await store(one);
    await store(two);
    await expect(stranger.write(one, { digest: digestOf(one), end: 1000 })).rejects.toThrow("finish_write");
    await store(one, stranger);
    await stranger.batchUpdate([{ digest: digestOf(two), data: two }]);
    for (const bytes of [one, two]) {
      expect((await stranger.read(digestOf(bytes))).equals(bytes)).toBe(true);
      expect(await nameless.findMissing([digestOf(bytes)])).toEqual(new Set([digestOf(bytes).hash]));
    }
  });

  test("an action result is complete by the blobs of its own instance", async () => {
    const action = digestOf(random.bytes(10));
    const output = await store(random.bytes(1000));
    const result = { output_files: [{ path: "out", digest: wireDigest(output) }] };
    await owner.updateActionResult(action, result);
    await stranger.updateActionResult(action, result);
    expect(await owner.getActionResult(action)).toBeDefined();
    expect(await stranger.getActionResult(action)).toBeUndefined();
    // What was remembered of the one says nothing of the other.
    expect(await owner.getActionResult(action)).toBeDefined();
    expect(await stranger.getActionResult(action)).toBeUndefined();
  });

  test("chunks of another instance do not splice, and a spliced blob is its own instance's", async () => {
    const bytes = random.bytes(6 * MIB);
    const blob = await store(bytes);
    const { chunk_digests } = await owner.splitBlob(blob, CHUNKING_FUNCTIONS.unknown);
    const chunks = chunk_digests.map(({ hash, size_bytes }) => ({ ...blob, hash, sizeBytes: Number(size_bytes) }));
    expect(chunks.length).toBeGreaterThan(1);
    await expect(stranger.spliceBlob(blob, chunks, CHUNKING_FUNCTIONS.unknown)).rejects.toMatchObject(NOT_FOUND);
    let offset = 0;
    for (const chunk of chunks) await store(bytes.subarray(offset, (offset += chunk.sizeBytes)), stranger);
    await stranger.spliceBlob(blob, chunks, CHUNKING_FUNCTIONS.unknown);
    expect((await stranger.read(blob)).equals(bytes)).toBe(true);
    expect(await nameless.findMissing([blob])).toEqual(new Set([blob.hash]));
  });

  test("HTTP sees what gRPC sees under the same name", async () => {
    const bytes = random.bytes(5000);
    const { hash } = await store(bytes);
    expect((await http(`team/one/cas/${hash}`)).status).toBe(200);
    expect((await http(`team/two/cas/${hash}`)).status).toBe(404);
    expect((await http(`cas/${hash}`)).status).toBe(404);
    const other = random.bytes(3000);
    expect((await http(`team/two/cas/${digestOf(other).hash}`, { method: "PUT", body: other })).status).toBe(200);
    expect((await stranger.read(digestOf(other))).equals(other)).toBe(true);
    expect(await owner.findMissing([digestOf(other)])).toEqual(new Set([digestOf(other).hash]));
  });

  test("GetTree walks, and assets stand for, what their own instance has", async () => {
    const file = await store(random.bytes(700));
    const directoryMessage = directoryCodec.encode({ files: [{ name: "f", digest: wireDigest(file) }] });
    const root = await store(Buffer.from(directoryMessage));
    const client = new Client(server.endpoint, credentials.createInsecure());
    try {
      const cas = serviceClient(client, "build.bazel.remote.execution.v2.ContentAddressableStorage");
      const push = serviceClient(client, "build.bazel.remote.asset.v1.Push");
      const fetches = serviceClient(client, "build.bazel.remote.asset.v1.Fetch");
      const tree = async (instance_name: string): Promise<number> => {
        const responses = cas.serverStream("GetTree", { instance_name, root_digest: wireDigest(root) });
        let directories = 0;
        for await (const page of responses) directories += (page as { directories: unknown[] }).directories.length;
        return directories;
      };
      expect(await tree("team/one")).toBe(1);
      await expect(tree("team/two")).rejects.toMatchObject(NOT_FOUND);
      const asset = { uris: ["urn:a"], root_directory_digest: wireDigest(root) };
      await push.unary("PushDirectory", { instance_name: "team/one", ...asset });
      const pushedElsewhere = push.unary("PushDirectory", { instance_name: "team/two", ...asset });
      await expect(pushedElsewhere).rejects.toMatchObject({ code: 9 });
      const fetched = (instance_name: string) => fetches.unary("FetchDirectory", { instance_name, uris: ["urn:a"] });
      expect(await fetched("team/one")).toMatchObject({ status: { code: 0 } });
      expect(await fetched("team/two")).toMatchObject({ status: NOT_FOUND });
    } finally {
      client.close();
    }
  });

  test("an interrupted upload goes on under its own instance name", async () => {
    const bytes = random.bytes(100_000);
    const digest = digestOf(bytes);
    const resourceName = owner.uploadName(digest);
    await expect(owner.write(bytes, { resourceName, end: 60_000 })).rejects.toThrow("finish_write");
    const foreign = resourceName.replace("team/one", "team/two");
    expect(Number((await stranger.queryWriteStatus(foreign)).committed_size)).toBe(0);
    expect(Number((await owner.queryWriteStatus(resourceName)).committed_size)).toBe(60_000);
    await owner.write(bytes, { resourceName, offset: 60_000 });
    expect(await nameless.findMissing([digest])).toEqual(new Set([digest.hash]));
    expect((await owner.read(digest)).equals(bytes)).toBe(true);
  });

  test("the empty blob is there for all, and a malformed instance name is refused", async () => {
    const empty = digestOf(Buffer.alloc(0));
    for (const client of [owner, stranger, nameless]) expect(await client.findMissing([empty])).toEqual(new Set());
    using malformed = new CacheClient(server.endpoint, "a/blobs/b");
    await expect(malformed.findMissing([empty])).rejects.toMatchObject({ code: 3 });
  });
});

test("with --cas-scope shared a blob is there under every instance name, and action results are not", async () => {
  await start("shared");
  const bytes = random.bytes(1000);
  const digest = await store(bytes);
  for (const client of [owner, stranger, nameless]) expect((await client.read(digest)).equals(bytes)).toBe(true);
  await owner.updateActionResult(digest, { output_files: [{ path: "out", digest: wireDigest(digest) }] });
  expect(await owner.getActionResult(digest)).toBeDefined();
  expect(await stranger.getActionResult(digest)).toBeUndefined();
});

test("changing the scope of a directory loses nothing, and mixes nothing up", async () => {
  await start("shared");
  const bytes = random.bytes(1000);
  const digest = await store(bytes);
  for (const client of [owner, stranger, nameless]) client[Symbol.dispose]();
  await server.close();
  await start("instance");
  expect(await owner.findMissing([digest])).toEqual(new Set([digest.hash]));
  const own = await store(random.bytes(2000));
  for (const client of [owner, stranger, nameless]) client[Symbol.dispose]();
  await server.close();
  await start("shared");
  expect((await stranger.read(digest)).equals(bytes)).toBe(true);
  expect(await owner.findMissing([own])).toEqual(new Set([own.hash]));
});
