import { once } from "node:events";
import { connect } from "node:net";
import type { Worker } from "node:worker_threads";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Config, loadConfig } from "../../src/config.ts";
import { type KuraServer, startServer } from "../../src/server.ts";
import { CacheClient, CacheClients, digestOf } from "../support/cache-client.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { StalledUpload } from "../support/stalled-upload.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";

const random = seededRandom(testSeed("two listeners"));
const MIB = 1024 * 1024;
/** The system picks a listener for each connection: all of these at one has odds of 1 to 32,767. */
const CONNECTIONS = 16;
let directory: TemporaryDirectory;
let servers: KuraServer[];
/** Threads in the order of their start: two shards, then the listener. */
let threads: Worker[];
const noteThread = (worker: Worker): void => void threads.push(worker);

beforeEach(async () => {
  directory = await makeTemporaryDirectory("listeners");
  servers = [];
  threads = [];
  process.on("worker", noteThread);
});
afterEach(async () => {
  for (const server of servers) await server.close(0);
  process.off("worker", noteThread);
  await directory[Symbol.asyncDispose]();
});

function testConfig(...args: string[]): Config {
  const fixed = ["--port", "0", "--dir", directory.path, "--max-size", "1GiB", "--shards", "2", "--listeners", "2"];
  const invocation = loadConfig([...fixed, ...args], {});
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  return invocation.config;
}

async function start(...args: string[]): Promise<KuraServer> {
  const server = await startServer(testConfig(...args), { logger: pino({ level: "silent" }) });
  servers.push(server);
  return server;
}

async function getText(server: KuraServer, path: string): Promise<{ status: number; text: string }> {
  // A connection for each, so that any listener may answer.
  const response = await fetch(`http://${server.endpoint}${path}`, { headers: { connection: "close" } });
  return { status: response.status, text: await response.text() };
}

async function metric(server: KuraServer, line: string): Promise<number> {
  const { text } = await getText(server, "/metrics");
  const found = text.split("\n").find((candidate) => candidate.startsWith(`${line} `));
  return Number(found?.slice(line.length + 1));
}

function listenerThread(): Worker {
  const worker = threads.findLast(({ threadId }) => threadId !== -1);
  if (worker === undefined) throw new Error("no thread is running");
  return worker;
}

test("what is written over any connection is read over every other", async () => {
  const server = await start();
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const blobs = Array.from({ length: CONNECTIONS }, () => random.bytes(random.int(1, 3 * MIB)));
  await Promise.all(
    blobs.map(async (blob, i) => {
      expect(await clients.at(i).write(blob)).toBe(blob.length);
      const readBack = await clients.at(i + 1).read(digestOf(blob));
      expect(readBack.equals(blob)).toBe(true);
    }),
  );
  for (let i = 0; i < CONNECTIONS; i++)
    expect(await clients.at(i).findMissing(blobs.map((blob) => digestOf(blob)))).toEqual(new Set());
});

test("the rate of a caller is one for all listeners", async () => {
  const burst = 20;
  const startedMs = performance.now();
  const server = await start("--request-rate", "1", "--request-burst", `${burst}`);
  let passed = 0;
  for (let i = 0; i < 4 * burst; i++) {
    const { status } = await getText(server, `/cas/${"0".repeat(64)}`);
    expect([404, 429]).toContain(status);
    if (status === 404) passed++;
  }
  expect(passed).toBeGreaterThanOrEqual(burst);
  expect(passed).toBeLessThanOrEqual(burst + Math.ceil((performance.now() - startedMs) / 1000));
});

test("/metrics and /status tell of all listeners, whichever answers, and what there is once is counted once", async () => {
  // A scrub is a call of a shard, too.
  const server = await start("--scrub-rate", "0");
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const blob = random.bytes(1000);
  for (let i = 0; i < CONNECTIONS; i++) await clients.at(i).write(blob);
  for (let i = 0; i < 8; i++) {
    const written = 'kura_rpc_calls_total{method="/google.bytestream.ByteStream/Write",status="ok"}';
    expect(await metric(server, written)).toBe(CONNECTIONS);
    expect(await metric(server, "kura_ready")).toBe(1);
    expect(await metric(server, "kura_engine_entries")).toBe(1);
    expect(await metric(server, 'kura_engine_shard_calls_in_flight{shard="0"}')).toBe(0);
    for (const listener of [0, 1])
      expect(await metric(server, `kura_listener_active_seconds_total{listener="${listener}"}`)).toBeGreaterThan(0);
    expect(await metric(server, 'kura_connections_accepted_total{protocol="http2"}')).toBe(CONNECTIONS);
    const { text } = await getText(server, "/status");
    const status = JSON.parse(text) as { connections: number; engine: { entries: number; stagingMemoryBytes: number } };
    expect(status).toMatchObject({ state: "serving", listenerCount: 2, engine: { entries: 1, stagingMemoryBytes: 0 } });
    expect(status.connections).toBeGreaterThan(CONNECTIONS);
  }
});

test("an upload that was interrupted at one listener is told of and goes on at any", async () => {
  const server = await start();
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  for (const size of [100_000, 3 * MIB]) {
    const blob = random.bytes(size);
    const name = clients.at(0).uploadName(digestOf(blob));
    const parts = 8;
    for (let part = 0; part < parts; part++) {
      const [from, end] = [part, part + 1].map((count) => Math.floor((count * size) / parts)) as [number, number];
      const resourceName = name;
      const writing = clients.at(part * 2).write(blob, { resourceName, offset: from, end });
      // All but the last end without finish_write.
      expect(await writing.catch(() => "interrupted")).toBe(end === size ? size : "interrupted");
      const told = await Promise.all(
        Array.from({ length: CONNECTIONS }, (_, i) => clients.at(i).queryWriteStatus(name)),
      );
      expect(new Set(told.map(({ committed_size }) => Number(committed_size)))).toEqual(new Set([end]));
    }
    expect((await clients.at(1).read(digestOf(blob))).equals(blob)).toBe(true);
  }
});

test("--max-connections holds for all listeners together", async () => {
  const server = await start("--max-connections", "6");
  const { hostname, port } = new URL(`http://${server.endpoint}`);
  const sockets = Array.from({ length: 20 }, () => connect(Number(port), hostname).on("error", () => {}));
  const closed = sockets.map((socket) => once(socket, "close"));
  let closedCount = 0;
  for (const one of closed) void one.then(() => closedCount++);
  await vi.waitFor(() => expect(closedCount).toBe(14));
  for (const socket of sockets) socket.destroy();
  await Promise.all(closed);
  await vi.waitFor(async () => expect((await getText(server, "/readyz")).status).toBe(200));
});

test("a listener thread that dies is started again; the others serve meanwhile, and nothing acknowledged is lost", async () => {
  const server = await start();
  const blobs: Buffer[] = [];
  {
    using clients = new CacheClients(server.endpoint, CONNECTIONS);
    for (let i = 0; i < CONNECTIONS; i++) {
      const blob = random.bytes(random.int(1, 2 * MIB));
      await clients.at(i).write(blob);
      blobs.push(blob);
    }
  }
  // Something in flight at each of them, most likely.
  const stalled = Array.from({ length: 8 }, () => new StalledUpload(server.endpoint, random.bytes(MIB)));
  await vi.waitFor(async () => expect(await metric(server, "kura_rpc_in_flight")).toBe(8), { timeout: 20_000 });
  const dying = listenerThread();
  const exited = new Promise((resolve) => dying.once("exit", resolve));
  // Nobody sends such a message: what its reader throws, nobody catches.
  dying.postMessage(null);
  await exited;
  for (const blob of blobs) {
    using client = new CacheClient(server.endpoint);
    expect((await client.read(digestOf(blob))).equals(blob)).toBe(true);
  }
  await vi.waitFor(() => expect(threads.length).toBe(4), { timeout: 20_000 });
  await vi.waitFor(
    async () => {
      using clients = new CacheClients(server.endpoint, CONNECTIONS);
      for (let i = 0; i < CONNECTIONS; i++) await clients.at(i).findMissing([digestOf(Buffer.from("x"))]);
      const accepted = await metric(server, "kura_connections");
      expect(accepted).toBeGreaterThan(CONNECTIONS);
    },
    { timeout: 20_000 },
  );
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  for (const [i, blob] of blobs.entries()) {
    expect((await clients.at(i).read(digestOf(blob))).equals(blob)).toBe(true);
    await clients.at(i).write(random.bytes(1000));
  }
  for (const upload of stalled) upload[Symbol.dispose]();
});

test("a server has a heartbeat while all of its listener threads run", async () => {
  const server = await start();
  await server.heartbeat();
  const dying = listenerThread();
  const exited = new Promise((resolve) => dying.once("exit", resolve));
  dying.postMessage(null);
  await exited;
  await expect(server.heartbeat()).rejects.toThrow("the listener thread");
  await vi.waitFor(() => server.heartbeat(), { timeout: 20_000 });
});

test("uploads that a listener thread kept when it died go on at the others", async () => {
  const server = await start();
  const blobs = Array.from({ length: CONNECTIONS }, (_, i) => random.bytes(i % 6 === 1 ? 9 * MIB : 100_000));
  const names: string[] = [];
  {
    using clients = new CacheClients(server.endpoint, CONNECTIONS);
    for (const [i, blob] of blobs.entries()) {
      const resourceName = clients.at(i).uploadName(digestOf(blob));
      names.push(resourceName);
      await clients
        .at(i)
        .write(blob, { resourceName, end: blob.length / 2 })
        .catch(() => undefined);
    }
  }
  const dying = listenerThread();
  const exited = new Promise((resolve) => dying.once("exit", resolve));
  dying.postMessage(null);
  await exited;
  await vi.waitFor(() => expect(threads.length).toBe(4), { timeout: 20_000 });
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  for (const [i, blob] of blobs.entries()) {
    const resourceName = names[i] ?? "";
    const offset = Number((await clients.at(i).queryWriteStatus(resourceName)).committed_size);
    expect(offset).toBe(blob.length / 2);
    await clients.at(i + 1).write(blob, { resourceName, offset });
    expect((await clients.at(i).read(digestOf(blob))).equals(blob)).toBe(true);
  }
});

test("draining finishes the uploads of every listener, refuses new ones, and closes the engine only then", async () => {
  const server = await start();
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const blobs = Array.from({ length: 4 * CONNECTIONS }, () => random.bytes(random.int(MIB, 2 * MIB)));
  const outcomes = blobs.map(async (blob, i) => {
    try {
      await clients.at(i).write(blob);
      return blob;
    } catch {
      return undefined;
    }
  });
  await Promise.any(outcomes);
  await server.close(60_000);
  const stored = (await Promise.all(outcomes)).filter((blob) => blob !== undefined);
  expect(stored.length).toBeGreaterThan(0);

  const again = await start();
  using reading = new CacheClients(again.endpoint, 4);
  for (const [i, blob] of stored.entries()) expect((await reading.at(i).read(digestOf(blob))).equals(blob)).toBe(true);
});

test("draining ends stalled uploads of every listener at the deadline", async () => {
  const server = await start();
  const uploads = Array.from({ length: 8 }, () => new StalledUpload(server.endpoint, random.bytes(1000)));
  await vi.waitFor(async () => expect(await metric(server, "kura_rpc_in_flight")).toBe(8), { timeout: 20_000 });
  await server.close(1);
  for (const upload of uploads) {
    expect(await upload.outcome).not.toBe(0);
    upload[Symbol.dispose]();
  }
});

test("a port that another server has is refused, although sockets of one server share theirs", async () => {
  const server = await start();
  const port = new URL(`http://${server.endpoint}`).port;
  await using other = await makeTemporaryDirectory("listeners");
  const config = testConfig("--port", port, "--dir", other.path);
  await expect(startServer(config, { logger: pino({ level: "silent" }) })).rejects.toThrow("EADDRINUSE");
});
