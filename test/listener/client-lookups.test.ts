import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadConfig } from "../../src/config.ts";
import { requestMetadataCodec, serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import type { ServiceHandlers } from "../../src/grpc/proto-services.ts";
import { type KuraServer, startServer } from "../../src/server.ts";
import { CacheClient, digestOf, wireDigest } from "../support/cache-client.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";

const HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin";
const CAS = "build.bazel.remote.execution.v2.ContentAddressableStorage";
const BLOB = Buffer.from("some blob");
const stored = wireDigest(digestOf(BLOB));
const absent = wireDigest(digestOf(Buffer.from("another")));
let directory: TemporaryDirectory;
let server: KuraServer;

beforeEach(async () => {
  directory = await makeTemporaryDirectory("client-lookups");
});
afterEach(async () => {
  await server.close(0);
  await directory[Symbol.asyncDispose]();
});

async function start(...args: string[]): Promise<void> {
  const fixed = ["--port", "0", "--dir", directory.path, "--max-size", "1GiB", "--shards", "2"];
  const invocation = loadConfig([...fixed, ...args], {});
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  server = await startServer(invocation.config, { logger: pino({ level: "silent" }) });
  using client = new CacheClient(server.endpoint);
  await client.write(BLOB);
}

/** A call on a connection of its own, with this header. @returns its status code. */
async function call(service: keyof ServiceHandlers, rpc: string, request: object, header: Buffer): Promise<number> {
  const client = new Client(server.endpoint, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
  const metadata = new Metadata();
  metadata.set(HEADER, header);
  const { path, requestSerialize, responseDeserialize } = serviceDefinition(service)[rpc]!;
  try {
    if (rpc !== "Read") {
      return await new Promise((resolve) => {
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, (error) =>
          resolve(error?.code ?? 0),
        );
      });
    }
    const reading = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata);
    return await new Promise((resolve) => {
      reading.on("data", () => undefined).on("error", () => undefined);
      reading.on("status", ({ code }) => resolve(code));
    });
  } finally {
    client.close();
  }
}

/** Look-ups of each kind, twice, by a build of this tool, mnemonic and instance. */
async function build(header: Buffer, instance_name: string): Promise<number[]> {
  const codes: number[] = [];
  const prefix = instance_name === "" ? "" : `${instance_name}/`;
  for (const digest of [stored, absent]) {
    const resource_name = `${prefix}blobs/${digest.hash}/${digest.size_bytes}`;
    codes.push(await call("google.bytestream.ByteStream", "Read", { resource_name }, header));
  }
  const action = { instance_name, action_digest: absent };
  codes.push(await call("build.bazel.remote.execution.v2.ActionCache", "GetActionResult", action, header));
  const digests = [stored, absent, absent];
  codes.push(await call(CAS, "FindMissingBlobs", { instance_name, blob_digests: digests }, header));
  codes.push(await call(CAS, "BatchReadBlobs", { instance_name, digests: [stored, absent] }, header));
  return codes;
}

const metadataOf = (tool_name: string, action_mnemonic: string): Buffer =>
  Buffer.from(requestMetadataCodec.encode({ tool_details: { tool_name, tool_version: "9" }, action_mnemonic }));

const LOOKED_UP = { ac: { hit: 0, miss: 1 }, cas: { hit: 2, miss: 2 }, find_missing: { hit: 1, miss: 2 } };
const CODES = [0, 5, 5, 0, 0];

async function get(path: string): Promise<string> {
  return await (await fetch(`http://${server.endpoint}${path}`, { headers: { connection: "close" } })).text();
}

test.each([
  ["native", "1"],
  ["grpc-js", "2"],
])("/status and /metrics tell look-ups by tool, mnemonic and instance (%s, %s listeners)", async (transport, count) => {
  await start("--grpc-transport", transport, "--listeners", count);
  expect(await build(metadataOf("bazel", "Javac"), "main")).toEqual(CODES);
  expect(await build(metadataOf("__proto__", "CppLink"), "")).toEqual(CODES);
  // None of these says who calls, and none of them is a reason to refuse the call.
  for (const header of [Buffer.from([0xff, 0x01]), Buffer.from([0x0a, 0x7f]), Buffer.alloc(2000, 0x0a)]) {
    expect(await build(header, "main")).toEqual(CODES);
  }
  const times = (factor: number) =>
    Object.fromEntries(
      Object.entries(LOOKED_UP).map(([kind, { hit, miss }]) => [kind, { hit: hit * factor, miss: miss * factor }]),
    );
  const { lookups } = JSON.parse(await get("/status")) as { lookups: Record<string, Record<string, unknown>> };
  expect(new Map(Object.entries(lookups["tool"] ?? {}))).toEqual(
    new Map<string, unknown>([
      ["bazel", LOOKED_UP],
      ["__proto__", LOOKED_UP],
      ["(none)", times(3)],
    ]),
  );
  expect(lookups["mnemonic"]).toEqual({ Javac: LOOKED_UP, CppLink: LOOKED_UP, "(none)": times(3) });
  expect(lookups["instance"]).toEqual({ main: times(4), "(none)": LOOKED_UP });
  const lines = (await get("/metrics")).split("\n");
  expect(lines).toContain('kura_tool_lookups_total{tool="bazel",kind="cas",result="hit"} 2');
  expect(lines).toContain('kura_mnemonic_lookups_total{mnemonic="CppLink",kind="ac",result="miss"} 1');
  expect(lines).toContain('kura_instance_lookups_total{instance="main",kind="find_missing",result="miss"} 8');
  expect(lines.filter((line) => line.startsWith('kura_lookups_total{kind="ac"'))).toEqual([
    'kura_lookups_total{kind="ac",result="miss"} 5',
  ]);
});
