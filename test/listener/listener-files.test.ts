import { hash } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";
import { type ChannelCredentials, credentials, status } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Config, loadConfig } from "../../src/config.ts";
import { type KuraServer, startServer } from "../../src/server.ts";
import { CacheClient, digestOf } from "../support/cache-client.ts";
import {
  RUNNER_CERTIFICATE,
  RUNNER_KEY,
  STRANGER_CERTIFICATE,
  STRANGER_KEY,
  TEST_CLIENT_CA,
} from "../support/client-certificates.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "../support/test-certificate.ts";

const BLOB = Buffer.from("kura");
/** The timeout only guards against hangs. */
const WAIT = { timeout: 20_000, interval: 20 };
let directory: TemporaryDirectory;
let servers: KuraServer[];
let logged: string[];

beforeEach(async () => {
  directory = await makeTemporaryDirectory("listener-files");
  servers = [];
  logged = [];
});
afterEach(async () => {
  for (const server of servers) await server.close(0);
  await directory[Symbol.asyncDispose]();
});

function file(name: string, content: string): string {
  const path = join(directory.path, name);
  writeFileSync(path, content.trimStart());
  return path;
}

function tlsOptions(): string[] {
  return ["--tls-cert", file("cert", TEST_CERTIFICATE), "--tls-key", file("key", TEST_KEY)];
}

function testConfig(...args: string[]): Config {
  const fixed = ["--port", "0", "--dir", join(directory.path, "data"), "--max-size", "1GiB", "--shards", "1"];
  const invocation = loadConfig([...fixed, ...args], {});
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  return invocation.config;
}

async function start(...args: string[]): Promise<KuraServer> {
  const logger = pino({ level: "info" }, { write: (line: string) => void logged.push(line) });
  const server = await startServer(testConfig(...args), { logger });
  servers.push(server);
  return server;
}

function withCertificate(key: string, certificate: string): ChannelCredentials {
  return credentials.createSsl(Buffer.from(TEST_CERTIFICATE), Buffer.from(key), Buffer.from(certificate));
}
const runner = (): ChannelCredentials => withCertificate(RUNNER_KEY, RUNNER_CERTIFICATE);
const stranger = (): ChannelCredentials => withCertificate(STRANGER_KEY, STRANGER_CERTIFICATE);
const withoutCertificate = (): ChannelCredentials => credentials.createSsl(Buffer.from(TEST_CERTIFICATE));

async function httpStatus(endpoint: string, path: string, identity: { key?: string; cert?: string }): Promise<number> {
  const options = { ca: TEST_CERTIFICATE, servername: "localhost", agent: false, ...identity };
  const [answer] = (await once(request(`https://${endpoint}${path}`, options).end(), "response")) as [IncomingMessage];
  await text(answer);
  return answer.statusCode ?? 0;
}

describe.each(["native", "grpc-js"])("client certificates over %s", (transport) => {
  test("make a caller known to gRPC and HTTP, and are optional", async () => {
    const rules = file("rules", "- { certificate: runner-*, role: cas-writer }");
    const ca = ["--tls-client-ca", file("ca", TEST_CLIENT_CA), "--auth-rules", rules];
    const { endpoint } = await start(...tlsOptions(), ...ca, "--grpc-transport", transport);
    using known = new CacheClient(endpoint, "", runner());
    expect(await known.write(BLOB)).toBe(BLOB.length);
    await expect(known.updateActionResult(digestOf(BLOB), { exit_code: 0 })).rejects.toMatchObject({
      code: status.PERMISSION_DENIED,
    });
    using unknown = new CacheClient(endpoint, "", withoutCertificate());
    await expect(unknown.read(digestOf(BLOB))).rejects.toMatchObject({ code: status.UNAUTHENTICATED });
    expect(await httpStatus(endpoint, "/status", { key: RUNNER_KEY, cert: RUNNER_CERTIFICATE })).toBe(200);
    expect(await httpStatus(endpoint, "/status", {})).toBe(401);
    expect(await httpStatus(endpoint, "/healthz", {})).toBe(200);
  });

  test("that others have issued are worse than none", async () => {
    const ca = ["--tls-client-ca", file("ca", TEST_CLIENT_CA), "--anonymous-role", "reader"];
    const { endpoint } = await start(...tlsOptions(), ...ca, "--grpc-transport", transport);
    using client = new CacheClient(endpoint, "", stranger());
    await expect(client.read(digestOf(BLOB))).rejects.toMatchObject({ code: status.UNAVAILABLE });
    const identity = { key: STRANGER_KEY, cert: STRANGER_CERTIFICATE };
    await expect(httpStatus(endpoint, "/status", identity)).rejects.toThrow("socket hang up");
    expect(await httpStatus(endpoint, "/status", {})).toBe(200);
  });

  test("can be required of every connection", async () => {
    const ca = ["--tls-client-ca", file("ca", TEST_CLIENT_CA), "--tls-client-auth", "required"];
    const { endpoint } = await start(...tlsOptions(), ...ca, "--grpc-transport", transport);
    using known = new CacheClient(endpoint, "", runner());
    expect(await known.write(BLOB)).toBe(BLOB.length);
    using unknown = new CacheClient(endpoint, "", withoutCertificate());
    await expect(unknown.read(digestOf(BLOB))).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await expect(httpStatus(endpoint, "/healthz", {})).rejects.toThrow(/certificate required|hang up|ECONNRESET/);
  });
});

const oldToken = "old";
const newToken = "new";
const line = (token: string): string => `ci:${hash("sha256", token)}\n`;

async function commonNameOf(endpoint: string): Promise<string> {
  const [host, port] = endpoint.split(":");
  const socket = connectTls({ host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
  await once(socket, "secureConnect");
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return String(CN);
}

describe.each(["1", "2"])("with %s listeners", (listeners) => {
  async function statusWith(endpoint: string, token: string): Promise<number> {
    const headers = { authorization: `Bearer ${token}`, connection: "close" };
    const response = await fetch(`http://${endpoint}/status`, { headers });
    await response.text();
    return response.status;
  }

  /** Of connections enough for every listener to be asked. */
  async function statusesWith(endpoint: string, token: string): Promise<Set<number>> {
    return new Set(await Promise.all(Array.from({ length: 16 }, () => statusWith(endpoint, token))));
  }

  test("tokens that have changed count from the next request on", async () => {
    const tokens = file("tokens", line(oldToken));
    const server = await start("--auth-tokens", tokens, "--listeners", listeners);
    expect(await statusesWith(server.endpoint, oldToken)).toEqual(new Set([200]));
    file("tokens", line(newToken));
    server.reload();
    await vi.waitFor(async () => {
      expect(await statusesWith(server.endpoint, newToken)).toEqual(new Set([200]));
      expect(await statusesWith(server.endpoint, oldToken)).toEqual(new Set([401]));
    }, WAIT);
  });

  test("a certificate that has changed is shown to new connections, and those that are there go on", async () => {
    const server = await start(...tlsOptions(), "--listeners", listeners);
    using client = new CacheClient(server.endpoint, "", withoutCertificate());
    await client.write(BLOB);
    expect(await commonNameOf(server.endpoint)).toBe("localhost");
    file("cert", STRANGER_CERTIFICATE);
    file("key", STRANGER_KEY);
    server.reload();
    await vi.waitFor(async () => {
      const names = await Promise.all(Array.from({ length: 16 }, () => commonNameOf(server.endpoint)));
      expect(new Set(names)).toEqual(new Set(["runner-1"]));
    }, WAIT);
    expect(await client.read(digestOf(BLOB))).toEqual(BLOB);
  });
});

test("files are looked at without being told to", async () => {
  const tokens = file("tokens", line(oldToken));
  const { endpoint } = await start("--auth-tokens", tokens);
  file("tokens", line(newToken));
  await vi.waitFor(async () => {
    const response = await fetch(`http://${endpoint}/status`, { headers: { authorization: `Bearer ${newToken}` } });
    expect([response.status, (await response.text()).length > 0]).toEqual([200, true]);
  }, WAIT);
});

test("files that cannot be used leave everything as it was, and are reported once", async () => {
  const tokens = file("tokens", line(oldToken));
  const server = await start("--auth-tokens", tokens);
  file("tokens", "ci:a-secret-in-the-wrong-place");
  server.reload();
  server.reload();
  const ask = { headers: { authorization: `Bearer ${oldToken}` } };
  expect((await fetch(`http://${server.endpoint}/status`, ask)).status).toBe(200);
  const reports = logged.filter((text) => text.includes("changed files cannot be used"));
  expect(reports.length).toBe(1);
  expect(reports[0]).toContain("--auth-tokens, line 1");
  expect(reports[0]).not.toContain("wrong-place");
});

test("a server whose files cannot be used does not start", async () => {
  await expect(start("--auth-tokens", file("tokens", "nonsense"))).rejects.toThrow("--auth-tokens, line 1");
  await expect(start("--auth-htpasswd", join(directory.path, "none"))).rejects.toThrow("--auth-htpasswd");
  await expect(start(...tlsOptions(), "--tls-client-ca", file("ca", "nonsense"))).rejects.toThrow("cannot be used");
});
