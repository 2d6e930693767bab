import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CacheClient, CacheClients, digestOf } from "./support/cache-client.ts";
import { testSeed } from "./support/seed.ts";
import { seededRandom } from "./support/seeded-random.ts";
import { ServerProcess } from "./support/server-process.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "./support/temporary-directory.ts";

const random = seededRandom(testSeed("uploads that survive their server"));
const MIB = 1024 * 1024;
const SIZE = 64 * MIB;
/** Bytes of an upload that are in the memory of the server alone: what a kill costs at the most. */
const IN_MEMORY_MAX = 2 * 256 * 1024;

let directory: TemporaryDirectory;
let server: ServerProcess;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("upload-survival");
});
afterEach(async () => {
  await server.kill();
  await directory[Symbol.asyncDispose]();
});

async function start(listeners: number): Promise<void> {
  const extraArguments = ["--listeners", `${listeners}`, "--drain-timeout", "100ms"];
  server = await ServerProcess.start({ directory: directory.path, shards: 2, extraArguments });
}

/** A client that has sent `sent` bytes and waits; resolves once the server says that it has them. */
async function stall(blob: Buffer, resourceName: string, sent: number): Promise<Disposable> {
  const client = new CacheClient(server.endpoint);
  const call = client.openWrite(blob, { resourceName, messageBytes: MIB, end: sent });
  await vi.waitFor(
    async () => expect(Number((await client.queryWriteStatus(resourceName)).committed_size)).toBe(sent),
    { timeout: 30_000 },
  );
  return { [Symbol.dispose]: () => (call.cancel(), client[Symbol.dispose]()) };
}

/** @returns from which byte on the client had to send the blob again. */
async function resume(blob: Buffer, resourceName: string): Promise<number> {
  // Whichever listener each of them reaches.
  using clients = new CacheClients(server.endpoint, 8);
  const told = await Promise.all(Array.from({ length: 8 }, (_, i) => clients.at(i).queryWriteStatus(resourceName)));
  expect(new Set(told.map(({ committed_size, complete }) => `${committed_size} ${complete}`)).size).toBe(1);
  const offset = Number(told[0]?.committed_size);
  expect(await clients.at(3).write(blob, { resourceName, offset, messageBytes: MIB })).toBe(blob.length);
  expect((await clients.at(5).read(digestOf(blob))).equals(blob)).toBe(true);
  return offset;
}

async function leftUploads(): Promise<unknown> {
  const response = await fetch(`http://${server.endpoint}/status`);
  return ((await response.json()) as { engine: { leftUploads: unknown } }).engine.leftUploads;
}

describe.each([1, 3])("with %i listeners", (listeners) => {
  test.each([
    ["SIGTERM", SIZE / 2 + 1234, 0],
    ["SIGTERM", SIZE, 0],
    ["SIGKILL", SIZE / 2 + 1234, IN_MEMORY_MAX],
  ])("%s after %i bytes of 64 MiB: the upload goes on after the restart", async (signal, sent, lostMax) => {
    await start(listeners);
    const blob = random.bytes(SIZE);
    const resourceName = `uploads/5ca1ab1e-0000-4000-8000-000000000001/blobs/${digestOf(blob).hash}/${SIZE}`;
    using _client = await stall(blob, resourceName, sent);
    if (signal === "SIGTERM") await server.stop();
    else await server.kill();
    await start(listeners);
    expect(await leftUploads()).toBe(1);
    const offset = await resume(blob, resourceName);
    expect(offset).toBeLessThanOrEqual(sent);
    expect(offset).toBeGreaterThanOrEqual(sent - lostMax);
    expect(await leftUploads()).toBe(0);
  });

  test("one whose client had gone is whole after a kill, and one of a small blob too", async () => {
    await start(listeners);
    const blobs = [random.bytes(SIZE), random.bytes(5 * MIB), random.bytes(100_000)];
    const sent = blobs.map((blob) => Math.floor(blob.length / 3));
    using client = new CacheClient(server.endpoint);
    const names = blobs.map((blob) => client.uploadName(digestOf(blob)));
    for (const [i, blob] of blobs.entries()) {
      const [resourceName = "", end = 0] = [names[i], sent[i]];
      await expect(client.write(blob, { resourceName, end, messageBytes: MIB })).rejects.toThrow("finish_write");
    }
    await server.kill();
    await start(listeners);
    for (const [i, blob] of blobs.entries()) expect(await resume(blob, names[i] ?? "")).toBe(sent[i]);
  });

  test("one that starts again from 0 after a kill leaves nothing of the old one", async () => {
    await start(listeners);
    const blob = random.bytes(SIZE);
    const resourceName = `uploads/5ca1ab1e-0000-4000-8000-000000000002/blobs/${digestOf(blob).hash}/${SIZE}`;
    using _stalled = await stall(blob, resourceName, SIZE / 4);
    await server.kill();
    await start(listeners);
    using client = new CacheClient(server.endpoint);
    expect(await client.write(blob, { resourceName, messageBytes: MIB })).toBe(SIZE);
    await vi.waitFor(async () => expect(await leftUploads()).toBe(0));
    expect((await client.read(digestOf(blob))).equals(blob)).toBe(true);
  });
});
