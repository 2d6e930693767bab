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
  for (let sent = 0; sent < 1.5 * MAX_BYTES; sent += 4 * 512 * KIB) {
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

describe.each(Object.keys(UPLOADS))("an instance that uploads more than the budget over %s", (how) => {
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

describe("--instance-quotas", () => {
  const QUOTA = "team/noisy=2MiB,gradle=1MiB";

  test("keeps an instance to its quota, and what it has newest is there", async () => {
    await start("--instance-quotas", QUOTA);
    const { blobs } = await quietSet();
    for (let i = 0; i < 40; i += 1) await noisy.write(random.bytes(256 * KIB));
    const newest = random.bytes(256 * KIB);
    await httpPut(`team/noisy/cas/${digestOf(newest).hash}`, newest);
    expect(await noisy.findMissing([digestOf(newest)])).toEqual(new Set());
    expect(await quiet.findMissing(blobs)).toEqual(new Set());
  });

  test("where all that it has is leased, answers as where there is no room, over gRPC and HTTP", async () => {
    await start("--instance-quotas", QUOTA, "--min-lease", "1h");
    const leased = Array.from({ length: 7 }, () => random.bytes(256 * KIB));
    for (const bytes of leased) await noisy.write(bytes);
    const digests = leased.map((bytes) => digestOf(bytes));
    expect(await noisy.findMissing(digests)).toEqual(new Set());
    const more = random.bytes(300 * KIB);
    await expect(noisy.write(more)).rejects.toMatchObject({ code: 8, details: expect.stringContaining("quota") });
    const batch = await noisy.batchUpdate([{ digest: digestOf(more), data: more }]);
    expect(batch.responses[0]?.status).toMatchObject({ code: 8 });
    const http = await fetch(url(`team/noisy/cas/${digestOf(more).hash}`), { method: "PUT", body: more });
    expect([http.status, http.headers.get("retry-after")]).toEqual([429, "10"]);
    expect(await noisy.findMissing(digests)).toEqual(new Set());
    await quiet.write(more);
    expect(await quiet.findMissing([digestOf(more)])).toEqual(new Set());
  });

  test("counts a protocol without instances by its own name", async () => {
    await start("--instance-quotas", QUOTA);
    const put = (bytes: Buffer) =>
      fetch(url("gradle/0123456789abcdef0123456789abcdef"), { method: "PUT", body: bytes });
    expect((await put(random.bytes(2 * MIB))).status).toBe(429);
    expect((await put(random.bytes(MIB / 2))).status).toBe(200);
  });
});

describe("what is stored for whom", () => {
  const lines = async (): Promise<string[]> => {
    const text = await (await fetch(url("metrics"))).text();
    return text.split("\n").filter((line) => /^kura_instance_(stored|quota)/.test(line));
  };

  test("is on /metrics and /status, from all listeners together once", async () => {
    await start("--instance-quotas", "team/noisy=2MiB", "--listeners", "2");
    await quiet.write(random.bytes(100_000));
    await noisy.write(random.bytes(200_000));
    // The payload, 80 bytes before it, a checksum behind it, padding, and a row of 72 in the footer.
    const [ofQuiet, ofNoisy] = [100_160, 200_160];
    expect((await lines()).toSorted()).toEqual([
      'kura_instance_quota_bytes{instance="team/noisy"} 2097152',
      `kura_instance_stored_bytes{instance="team/noisy"} ${ofNoisy}`,
      `kura_instance_stored_bytes{instance="team/quiet"} ${ofQuiet}`,
    ]);
    const { instances } = (await (await fetch(url("status"))).json()) as { instances: unknown };
    expect(instances).toEqual([
      { instance: "team/noisy", storedBytes: ofNoisy, quotaBytes: 2 * MIB },
      { instance: "team/quiet", storedBytes: ofQuiet },
    ]);
  });

  test("is not told where no accounts are kept", async () => {
    await start();
    await quiet.write(random.bytes(1000));
    expect(await lines()).toEqual([]);
  });
});
