import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { Client, type ClientReadableStream, credentials, status } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterEach, describe, expect, it, onTestFinished } from "vitest";
import { casKey } from "../src/cache/entry-key.ts";
import { type Clock, systemClock } from "../src/clock.ts";
import { type Config, loadConfig } from "../src/config.ts";
import { type HealthCheckResponse, SERVING_STATUS } from "../src/grpc/health-messages.ts";
import { serviceDefinition } from "../src/grpc/proto-definitions.ts";
import { type KuraServer, startServer } from "../src/server.ts";
import { CacheClient, digestOf } from "./support/cache-client.ts";
import { serviceClient } from "./grpc/service-client.ts";
import { LocalOrigin } from "./support/local-origin.ts";
import { MemoryEngine } from "./support/memory-engine.ts";
import { StalledUpload } from "./support/stalled-upload.ts";
import { makeTemporaryDirectory } from "./support/temporary-directory.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "./support/test-certificate.ts";

const BLOB = Buffer.alloc(100_000, "kura");

function testConfig(...args: string[]): Config {
  const invocation = loadConfig(["--port", "0", "--dir", "/nonexistent", "--max-size", "1GiB", ...args], {});
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  return invocation.config;
}

describe("KuraServer", () => {
  const openServers: KuraServer[] = [];
  let engine = new MemoryEngine();

  async function start(
    config: Config = testConfig(),
    opening: Promise<void> = Promise.resolve(),
    clock: Clock = systemClock,
  ): Promise<KuraServer> {
    engine = new MemoryEngine();
    const openEngine = async (): Promise<MemoryEngine> => {
      await opening;
      return engine;
    };
    const server = await startServer(config, { logger: pino({ level: "silent" }), openEngine, clock });
    openServers.push(server);
    return server;
  }

  afterEach(async () => {
    for (const server of openServers.splice(0)) await server.close(0);
  });

  it("serves gRPC and HTTP on the port that it reports", async () => {
    const { endpoint } = await start();
    using client = new CacheClient(endpoint);
    expect(await client.write(BLOB)).toBe(BLOB.length);
    expect(await client.read(digestOf(BLOB))).toEqual(BLOB);
    expect((await fetch(`http://${endpoint}/readyz`)).status).toBe(200);
    const response: unknown = await (await fetch(`http://${endpoint}/status`)).json();
    expect(response).toMatchObject({
      state: "serving",
      address: endpoint,
      durability: "commit",
      limits: { maxBytes: 1024 ** 3 },
      engine: { shards: [{ syncs: 1 }, { syncs: 2 }] },
    });
  });

  it("fetches from origins where it is told to, and only from addresses that are allowed", async () => {
    await using origin = await LocalOrigin.start();
    const uris = [origin.serve("/blob", BLOB).href];
    const fetchFrom = async (...args: string[]): Promise<unknown> => {
      const { endpoint } = await start(testConfig(...args));
      const client = new Client(endpoint, credentials.createInsecure());
      onTestFinished(() => client.close());
      return serviceClient(client, "build.bazel.remote.asset.v1.Fetch").unary("FetchBlob", { uris });
    };
    expect(await fetchFrom()).toMatchObject({ status: { code: status.NOT_FOUND } });
    const refused = await fetchFrom("--asset-origin-fetch", "on");
    expect(refused).toMatchObject({ status: { code: status.PERMISSION_DENIED } });
    expect(origin.requestCount).toBe(0);
    const allowed = ["--asset-origin-fetch", "on", "--asset-allow-private", "10.0.0.0/8,127.0.0.1"];
    const { hash, sizeBytes } = digestOf(BLOB);
    expect(await fetchFrom(...allowed)).toMatchObject({
      status: { code: 0 },
      blob_digest: { hash, size_bytes: sizeBytes },
    });
    const limited = await fetchFrom(...allowed, "--asset-max-size", "1KiB");
    expect(limited).toMatchObject({ status: { code: status.RESOURCE_EXHAUSTED } });
  });

  it("shows calls, look-ups, bytes, connections and the engine at /metrics", async () => {
    const { endpoint } = await start(testConfig("--max-connections", "32"));
    using client = new CacheClient(endpoint);
    await client.write(BLOB);
    await client.read(digestOf(BLOB));
    await client.findMissing([digestOf(Buffer.from("absent")), digestOf(Buffer.alloc(0))]);
    await client.getActionResult(digestOf(Buffer.from("action")));
    const text = await (await fetch(`http://${endpoint}/metrics`)).text();
    const valueOf = (name: string) => Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
    expect(valueOf("kura_resident_memory_bytes")).toBeGreaterThan(1e6);
    expect(valueOf('kura_cpu_seconds_total{mode="user"}')).toBeGreaterThan(0);
    expect(valueOf('kura_listener_active_seconds_total{listener="0"}')).toBeGreaterThan(0);
    expect(valueOf("kura_open_file_descriptors")).toBeGreaterThan(2);
    expect(valueOf("kura_start_time_seconds")).toBeCloseTo(performance.timeOrigin / 1000, 1);
    for (const line of [
      'kura_rpc_calls_total{method="/google.bytestream.ByteStream/Write",status="ok"} 1',
      `kura_bytes_total{kind="cas",direction="written"} ${BLOB.length}`,
      `kura_bytes_total{kind="cas",direction="read"} ${BLOB.length}`,
      'kura_lookups_total{kind="cas",result="hit"} 1',
      'kura_lookups_total{kind="find_missing",result="miss"} 1',
      'kura_lookups_total{kind="find_missing",result="hit"} 1',
      'kura_lookups_total{kind="ac",result="miss"} 1',
      'kura_connections_accepted_total{protocol="http2"} 1',
      'kura_engine_shard_syncs{shard="1"} 2',
      'kura_engine_shard_group_puts_count{shard="0"} 2',
      'kura_requests_shed_total{protocol="grpc",reason="rate"} 0',
      "kura_connections_max 32",
      "kura_ready 1",
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    expect(text).toMatch(/^kura_info\{version="\d+\.\d+\.\d+",durability="commit"\} 1$/m);
  });

  it.each(["native", "grpc-js"])(
    "has one rate for a caller over %s and HTTP, and probes go free",
    async (transport) => {
      let nowMs = 1e6;
      const config = testConfig("--request-rate", "2", "--request-burst", "4", "--grpc-transport", transport);
      const { endpoint } = await start(config, Promise.resolve(), { wallMs: () => 0, monotonicMs: () => nowMs });
      const get = async (path: string, method = "GET"): Promise<Response> => {
        const response = await fetch(`http://${endpoint}${path}`, { method });
        await response.arrayBuffer();
        return response;
      };
      using client = new CacheClient(endpoint);
      await client.write(BLOB);
      await client.read(digestOf(BLOB));
      const { hash } = digestOf(BLOB);
      expect([(await get(`/cas/${hash}`)).status, (await get(`/cas/${hash}`)).status]).toEqual([200, 200]);
      const refused = await get(`/cas/${hash}`);
      expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
      await expect(client.read(digestOf(BLOB))).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
      await expect(client.write(BLOB)).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
      // Tools that take nothing else for an answer.
      const key = "0".repeat(40);
      for (const path of [`/gradle/${key}`, `/metro/${key}`, `/nx/v1/cache/${key}`]) {
        expect((await get(path)).status).toBe(404);
      }
      expect((await get(`/nx/v1/cache/${key}`, "PUT")).status).toBe(403);
      const connection = new Client(endpoint, credentials.createInsecure());
      onTestFinished(() => connection.close());
      const health = serviceClient(connection, "grpc.health.v1.Health");
      for (let i = 0; i < 8; i++) {
        for (const path of ["/healthz", "/readyz", "/status", "/metrics"]) expect((await get(path)).status).toBe(200);
        expect(await health.unary("Check", { service: "" })).toMatchObject({ status: SERVING_STATUS.serving });
      }
      const metrics = await (await fetch(`http://${endpoint}/metrics`)).text();
      expect(metrics).toContain('kura_requests_shed_total{protocol="grpc",reason="rate"} 2\n');
      expect(metrics).toContain('kura_requests_shed_total{protocol="http",reason="rate"} 5\n');
      nowMs += 500;
      expect([(await get(`/cas/${hash}`)).status, (await get(`/cas/${hash}`)).status]).toEqual([200, 429]);
    },
  );

  it.each(["native", "grpc-js"])("serves gRPC over %s and HTTP with a certificate", async (transport) => {
    await using directory = await makeTemporaryDirectory("server-tls");
    const [cert, key] = [join(directory.path, "cert.pem"), join(directory.path, "key.pem")];
    writeFileSync(cert, TEST_CERTIFICATE);
    writeFileSync(key, TEST_KEY);
    const { endpoint } = await start(testConfig("--tls-cert", cert, "--tls-key", key, "--grpc-transport", transport));
    using client = new CacheClient(endpoint, "", credentials.createSsl(Buffer.from(TEST_CERTIFICATE)));
    expect(await client.write(BLOB)).toBe(BLOB.length);
    expect(await client.read(digestOf(BLOB))).toEqual(BLOB);
    const ready = request(`https://${endpoint}/readyz`, { ca: TEST_CERTIFICATE, servername: "localhost" }).end();
    const [answer] = (await once(ready, "response")) as [IncomingMessage];
    expect([answer.statusCode, await text(answer)]).toEqual([200, "serving\n"]);
    expect(() => testConfig("--tls-cert", cert)).toThrow("expected both or neither");
    await expect(start(testConfig("--tls-cert", cert, "--tls-key", cert))).rejects.toThrow("cannot be used");
    await expect(start(testConfig("--tls-cert", `${cert}.old`, "--tls-key", key))).rejects.toThrow("ENOENT");
  });

  it("gives connections the age that is configured", async () => {
    const { endpoint } = await start(testConfig("--max-connection-age", "1ms"));
    const session = connectHttp2(`http://${endpoint}`);
    const [code] = (await once(session, "goaway")) as [number];
    expect(code).toBe(0);
    await once(session, "close");
  });

  it("is alive and unready while the engine opens, and refuses gRPC so that clients come again", async () => {
    const port = await freePort();
    const opened = Promise.withResolvers<void>();
    const starting = start(testConfig("--port", String(port)), opened.promise);
    const origin = `http://127.0.0.1:${port}`;
    const readiness = await fetch(`${origin}/readyz`);
    expect([readiness.status, await readiness.text()]).toEqual([503, "starting: the store is being opened\n"]);
    expect((await fetch(`${origin}/healthz`)).status).toBe(200);
    const early = connectHttp2(origin).on("error", () => {});
    await once(early, "close");
    opened.resolve();
    await starting;
    expect((await fetch(`${origin}/readyz`)).status).toBe(200);
  });

  it("follows the engine into and out of read-only, at /readyz and in grpc.health.v1", async () => {
    const { endpoint } = await start();
    using health = new HealthWatch(endpoint);
    expect(await health.next()).toBe(SERVING_STATUS.serving);
    engine.readOnlyReason = "the disk fails";
    expect(await health.next()).toBe(SERVING_STATUS.notServing);
    const response = await fetch(`http://${endpoint}/readyz`);
    expect([response.status, await response.text()]).toEqual([503, "read-only: the disk fails\n"]);
    engine.readOnlyReason = undefined;
    expect(await health.next()).toBe(SERVING_STATUS.serving);
  });

  it("lets an upload in flight finish when it closes, and closes the engine only then", async () => {
    const server = await start();
    using client = new CacheClient(server.endpoint);
    const release = engine.holdCommits();
    const upload = client.write(BLOB);
    await staged();
    const closed = server.close(60_000);
    expect(server.readiness.status.state).toBe("draining");
    await expect(once(dial(server.endpoint), "connect")).rejects.toThrow("ECONNREFUSED");
    expect(engine.isClosed).toBe(false);
    release();
    expect(await upload).toBe(BLOB.length);
    await closed;
    expect(engine.isClosed).toBe(true);
    expect(engine.peek(casKey(digestOf(BLOB)))).toBe(true);
  });

  it("cuts an upload that stalls at the deadline with UNAVAILABLE, and leaves nothing staged", async () => {
    const server = await start();
    using upload = new StalledUpload(server.endpoint, BLOB);
    while (engine.stagedBytes === 0) await new Promise((resolve) => setImmediate(resolve));
    await server.close(1);
    expect(await upload.outcome).toBe(status.UNAVAILABLE);
    expect([engine.openStaged, engine.isClosed]).toEqual([0, true]);
  });

  it("closes silent and kept-alive connections at once", async () => {
    const server = await start();
    await (await fetch(`http://${server.endpoint}/healthz`)).text();
    const silent = dial(server.endpoint);
    await once(silent, "connect");
    await server.close(600_000);
    expect(engine.isClosed).toBe(true);
  });

  it("closes once, however often it is asked to", async () => {
    const server = await start();
    await Promise.all([server.close(), server.close(0), server[Symbol.asyncDispose]()]);
    expect(engine.isClosed).toBe(true);
  });

  it("gives the port back when the engine cannot be opened", async () => {
    const port = await freePort();
    const config = testConfig("--port", String(port));
    const failure = Promise.reject(new Error("the directory is locked by process 7"));
    await expect(start(config, failure)).rejects.toThrow("locked by process 7");
    await start(config);
  });

  it("finds a port in use before it touches the data", async () => {
    const { endpoint } = await start();
    let opened = 0;
    const openEngine = async (): Promise<MemoryEngine> => {
      opened++;
      return new MemoryEngine();
    };
    const config = testConfig("--port", endpoint.split(":")[1] ?? "");
    const second = startServer(config, { logger: pino({ level: "silent" }), openEngine });
    await expect(second).rejects.toThrow("EADDRINUSE");
    expect(opened).toBe(0);
  });

  /** Resolves when the engine has all bytes of an upload, whose commit a test holds. */
  async function staged(): Promise<void> {
    while (engine.stagedEver === 0 || engine.stagedBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  }
});

function dial(endpoint: string): Socket {
  const { hostname, port } = new URL(`http://${endpoint}`);
  return connect(Number(port), hostname);
}

/** A port that was free a moment ago: for tests that have to know it before the server reports it. */
async function freePort(): Promise<number> {
  await using server = await startServer(testConfig(), {
    logger: pino({ level: "silent" }),
    openEngine: async () => new MemoryEngine(),
  });
  return Number(new URL(`http://${server.endpoint}`).port);
}

/** One `grpc.health.v1.Health/Watch` call for the server as a whole. */
class HealthWatch implements Disposable {
  readonly #client: Client;
  readonly #call: ClientReadableStream<HealthCheckResponse>;
  readonly #responses: AsyncIterator<HealthCheckResponse>;

  constructor(endpoint: string) {
    const rpc = serviceDefinition("grpc.health.v1.Health")["Watch"];
    if (rpc === undefined) throw new Error("no Watch");
    this.#client = new Client(endpoint, credentials.createInsecure());
    const decode = (bytes: Buffer) => rpc.responseDeserialize(bytes) as HealthCheckResponse;
    this.#call = this.#client.makeServerStreamRequest(rpc.path, rpc.requestSerialize, decode, { service: "" });
    this.#call.on("error", () => {});
    this.#responses = this.#call[Symbol.asyncIterator]();
  }

  async next(): Promise<number> {
    const { done, value } = await this.#responses.next();
    if (done === true) throw new Error("the stream has ended");
    return value.status;
  }

  [Symbol.dispose](): void {
    this.#call.cancel();
    this.#client.close();
  }
}
