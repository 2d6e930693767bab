import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pino } from "pino";
import { expect, test } from "vitest";
import { type Config, loadConfig } from "../../src/config.ts";
import { type KuraServer, startServer } from "../../src/server.ts";
import { digestOf } from "../support/cache-client.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "../support/test-certificate.ts";

const MIB = 1024 * 1024;
const random = seededRandom(testSeed("HTTP over a real store"));
/** Within the slab, past it, and past the size from which a temporary file becomes a segment. */
const VALUES = [0, 1, 4096, 3 * MIB, 9 * MIB].map((sizeBytes) => random.bytes(sizeBytes));

interface Answer {
  readonly status: number | undefined;
  readonly body: Buffer;
}

/** A connection for each request, so that any listener may answer. */
async function ask(
  server: KuraServer,
  method: string,
  path: string,
  body?: Buffer,
  isChunked = false,
): Promise<Answer> {
  const headers = body === undefined || isChunked ? {} : { "content-length": body.length };
  const url = `https://${server.endpoint}${path}`;
  const sent = request(url, { method, headers, ca: TEST_CERTIFICATE, servername: "localhost", agent: false });
  if (isChunked) sent.flushHeaders();
  const answering = once(sent, "response") as Promise<[IncomingMessage]>;
  sent.end(body);
  const [answer] = await answering;
  return { status: answer.statusCode, body: await buffer(answer) };
}

test("what is stored over TLS at one listener is read at every other, and after a restart", async () => {
  await using directory = await makeTemporaryDirectory("http-store");
  const [cert, key] = [join(directory.path, "cert.pem"), join(directory.path, "key.pem")];
  writeFileSync(cert, TEST_CERTIFICATE);
  writeFileSync(key, TEST_KEY);
  const config = (listeners: string): Config => {
    const store = [
      "--dir",
      join(directory.path, "store"),
      "--max-size",
      "1GiB",
      "--shards",
      "2",
      "--listeners",
      listeners,
    ];
    const invocation = loadConfig(["--port", "0", ...store, "--tls-cert", cert, "--tls-key", key], {});
    if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
    return invocation.config;
  };
  const logger = pino({ level: "silent" });
  const paths = VALUES.flatMap((value, i) => {
    const name = String(i).padStart(32, "0");
    return [`/cas/${digestOf(value).hash}`, `/ac/${name}`, `/gradle/${name}`].map((path) => ({ path, value }));
  });
  {
    await using server = await startServer(config("2"), { logger });
    const stored = await Promise.all(
      paths.map(async ({ path, value }, i) => (await ask(server, "PUT", path, value, i % 2 === 1)).status),
    );
    expect(stored).toEqual(paths.map(() => 200));
    for (const { path, value } of paths) {
      for (let repeat = 0; repeat < 2; repeat++) {
        const { status, body } = await ask(server, "GET", path);
        expect([path, status, body.equals(value)]).toEqual([path, 200, true]);
      }
    }
    const refused = await ask(server, "PUT", `/cas/${"0".repeat(64)}`, VALUES[4], true);
    expect([refused.status, (await ask(server, "GET", `/cas/${"0".repeat(64)}`)).status]).toEqual([400, 404]);
  }
  await using server = await startServer(config("1"), { logger });
  for (const { path, value } of paths) expect((await ask(server, "GET", path)).body.equals(value)).toBe(true);
});
