import { randomUUID } from "node:crypto";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Digest } from "../../src/cache/digest.ts";
import { loadConfig } from "../../src/config.ts";
import { type KuraServer, startServer } from "../../src/server.ts";
import { CacheClient, digestOf, wireDigest } from "../support/cache-client.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";

const random = seededRandom(testSeed("fair share of instances"));
const KIB = 1024;
const MIB = 1024 * KIB;
const MAX_BYTES = 32 * MIB;
let directory: TemporaryDirectory;
let server: KuraServer;
let quiet: CacheClient;
let noisy: CacheClient;

async function start(...args: string[]): Promise<void> {
  const sizes = ["--max-size", "32MiB", "--staging-size", "8MiB", "--segment-size", "256KiB", "--shards", "2"];
  const fixed = ["--port", "0", "--dir", directory.path, "--durability", "relaxed", "--min-lease", "0"];
  const invocation = loadConfig([...fixed, ...sizes, ...args], {});
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  server = await startServer(invocation.config, { logger: pino({ level: "silent" }) });
  quiet = new CacheClient(server.endpoint, "team/quiet");
  noisy = new CacheClient(server.endpoint, "team/noisy");
}

beforeEach(async () => {
  directory = await makeTemporaryDirectory("fair-share");
});
afterEach(async () => {
  for (const client of [quiet, noisy]) client[Symbol.dispose]();
  await server.close(0);
  await directory[Symbol.asyncDispose]();
});

const url = (path: string): string => `http://${server.endpoint}/${path}`;

async function httpPut(path: string, bytes: Buffer): Promise<void> {
  const response = await fetch(url(path), { method: "PUT", body: bytes });
  await response.arrayBuffer();
  expect(response.status).toBe(200);
}

/** How a noisy instance uploads something that nobody will ask for. */
const UPLOADS: Record<string, (bytes: Buffer) => Promise<unknown>> = {
  "gRPC, by Write": (bytes) => noisy.write(bytes),
  "gRPC, by BatchUpdateBlobs": (bytes) => noisy.batchUpdate([{ digest: digestOf(bytes), data: bytes }]),
  "HTTP, as blobs": (bytes) => httpPut(`team/noisy/cas/${digestOf(bytes).hash}`, bytes),
  "HTTP, under names": (bytes) => httpPut(`gradle/${randomUUID().replaceAll("-", "")}`, bytes),
};

async function flood(upload: (bytes: Buffer) => Promise<unknown>): Promise<void> {
  for (let sent = 0; sent < 3 * MAX_BYTES; sent += 4 * 512 * KIB) {
    await Promise.all(Array.from({ length: 4 }, () => upload(random.bytes(512 * KIB))));
  }
}

/** What a quiet instance has: an action result, and blobs by each protocol. */
async function quietSet(): Promise<{ action: Digest; blobs: Digest[]; value: string }> {
  const contents = Array.from({ length: 24 }, () => random.bytes(128 * KIB));
  const blobs = contents.map((bytes) => digestOf(bytes));
  for (const [i, bytes] of contents.entries()) {
    if (i % 2 === 0) await quiet.write(bytes);
    else await httpPut(`team/quiet/cas/${digestOf(bytes).hash}`, bytes);
  }
  const action = digestOf(random.bytes(10));
  const outputs = blobs.map((digest, i) => ({ path: `out/${i}`, digest: wireDigest(digest) }));
  await quiet.updateActionResult(action, { output_files: outputs });
  const value = `nx/v1/cache/${random.int(1, 1_000_000)}`;
  await httpPut(value, random.bytes(100 * KIB));
  return { action, blobs, value };
}

async function status(path: string): Promise<number> {
  const response = await fetch(url(path));
  await response.arrayBuffer();
  return response.status;
}

describe.each(Object.keys(UPLOADS))("an instance that uploads three times the budget over %s", (how) => {
  test.each(["shared", "instance"])(
    "takes nothing from others that have little, with --cas-scope %s",
    async (scope) => {
      await start("--fair-share", "on", "--cas-scope", scope);
      const { action, blobs, value } = await quietSet();
      await flood(UPLOADS[how]!);
      expect(await quiet.findMissing(blobs)).toEqual(new Set());
      expect(await quiet.getActionResult(action)).toBeDefined();
      for (const { hash } of blobs) expect(await status(`team/quiet/cas/${hash}`)).toBe(200);
      expect(await status(`team/quiet/ac/${action.hash}`)).toBe(200);
      expect(await status(value)).toBe(200);
    },
  );

  test("takes everything from them without --fair-share", async () => {
    await start();
    const { action, blobs, value } = await quietSet();
    await flood(UPLOADS[how]!);
    expect((await quiet.findMissing(blobs)).size).toBe(blobs.length);
    expect(await quiet.getActionResult(action)).toBeUndefined();
    expect(await status(value)).toBe(404);
  });
});
