import { hash } from "node:crypto";
import { status } from "@grpc/grpc-js";
import { describe, expect, onTestFinished, test } from "vitest";
import { AssetStore } from "../../src/asset/asset-store.ts";
import { Assets } from "../../src/asset/assets.ts";
import { AddressGuard } from "../../src/asset/origin/address-guard.ts";
import { OriginFetches } from "../../src/asset/origin/origin-fetches.ts";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { RecipeStore } from "../../src/cache/chunking/recipe-store.ts";
import { SplicedBlobStore } from "../../src/cache/spliced-blob-store.ts";
import { casKey } from "../../src/cache/entry-key.ts";
import { parseCidr } from "../../src/cidr.ts";
import { systemClock } from "../../src/clock.ts";
import { assetServices } from "../../src/grpc/asset-services.ts";
import { protoOutputReferences } from "../../src/grpc/output-references-reader.ts";
import { digestMessage } from "../../src/grpc/request-digest.ts";
import { directoryOf, putBlob, putDirectory } from "../support/action-results.ts";
import { digestOf } from "../support/cas-content.ts";
import { LocalOrigin } from "../support/local-origin.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";
import { serveMethods, serviceClient } from "./service-client.ts";

const CONTENT = Buffer.from("content of an origin");
const SHA256 = 1;

async function fixture() {
  const origin = await LocalOrigin.start();
  const entries = new MemoryEntryStore();
  const blobs = new EmptyBlobStore(new SplicedBlobStore(new EntryBlobStore(entries), new RecipeStore(entries)));
  const origins = new OriginFetches({
    entries,
    guard: new AddressGuard([parseCidr("127.0.0.1/32")!]),
    bytesMax: 1000,
    clock: systemClock,
    timeoutMs: 60_000,
    backoffMs: 0,
  });
  onTestFinished(async () => {
    await origins[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
  });
  const store = new AssetStore(entries);
  const assets = new Assets({ store, blobs, references: protoOutputReferences, clock: systemClock, origins });
  const client = await serveMethods(assetServices({ assets }));
  const fetches = serviceClient(client, "build.bazel.remote.asset.v1.Fetch");
  const pushes = serviceClient(client, "build.bazel.remote.asset.v1.Push");
  return {
    origin,
    entries,
    blobs,
    fetchBlob: (request: object) => fetches.unary("FetchBlob", request),
    fetchDirectory: (request: object) => fetches.unary("FetchDirectory", request),
    pushBlob: (request: object) => pushes.unary("PushBlob", request),
    pushDirectory: (request: object) => pushes.unary("PushDirectory", request),
  };
}

function seconds(count: number): { seconds: number; nanos: number } {
  return { seconds: count, nanos: 0 };
}

function sri(content: Uint8Array): { name: string; value: string } {
  return { name: "checksum.sri", value: `sha256-${hash("sha256", content, "base64")}` };
}

function refused(code: number, details: RegExp) {
  return { code, details: expect.stringMatching(details) as unknown };
}

describe("Push and Fetch", () => {
  test("answer for what was pushed with its digest, its function and the URI that found it", async () => {
    const { blobs, pushBlob, fetchBlob, pushDirectory, fetchDirectory } = await fixture();
    const blob = await putBlob(blobs, "content");
    const directory = await putDirectory(blobs, directoryOf({ blob }));
    await pushBlob({
      uris: ["urn:a"],
      blob_digest: digestMessage(blob),
      references_directories: [digestMessage(directory)],
    });
    await pushDirectory({ uris: ["urn:a"], root_directory_digest: digestMessage(directory), digest_function: SHA256 });
    expect(await fetchBlob({ uris: ["urn:b", "urn:a"] })).toMatchObject({
      status: { code: 0 },
      uri: "urn:a",
      expires_at: null,
      blob_digest: digestMessage(blob),
      digest_function: SHA256,
    });
    expect(await fetchDirectory({ uris: ["urn:a"] })).toMatchObject({
      status: { code: 0 },
      uri: "urn:a",
      root_directory_digest: digestMessage(directory),
      digest_function: SHA256,
    });
  });

  test("tell what is not there in the answer and not as a failure of the call", async () => {
    const { origin, fetchBlob, fetchDirectory } = await fixture();
    const missing = { status: { code: status.NOT_FOUND }, blob_digest: null };
    expect(await fetchBlob({ uris: ["urn:a"] })).toMatchObject({ ...missing, uri: "urn:a" });
    const { href } = origin.url("/none");
    expect(await fetchBlob({ uris: ["urn:a", href] })).toMatchObject({ ...missing, uri: href });
    expect(await fetchDirectory({ uris: [href] })).toMatchObject({ status: { code: status.NOT_FOUND } });
  });

  test("refuse what is malformed, naming the field", async () => {
    const { blobs, pushBlob, fetchBlob } = await fixture();
    const blob_digest = digestMessage(await putBlob(blobs, "content"));
    const uris = ["urn:a"];
    const twice = [1, 2].map((value) => ({ name: "a", value: `${value}` }));
    const bad: [Promise<unknown>, RegExp][] = [
      [fetchBlob({ uris: [] }), /^uris/],
      [fetchBlob({ uris: [""] }), /^uris\[0\]/],
      [fetchBlob({ uris: ["x".repeat(8193)] }), /^uris\[0\]/],
      [fetchBlob({ uris: Array(101).fill("urn:a") }), /^uris/],
      [fetchBlob({ uris, qualifiers: twice }), /^qualifiers\[1\]\.name/],
      [fetchBlob({ uris, qualifiers: [{ name: "", value: "a" }] }), /^qualifiers\[0\]\.name/],
      [fetchBlob({ uris, timeout: seconds(-1) }), /^timeout/],
      [fetchBlob({ uris, instance_name: "blobs" }), /^instance_name/],
      [fetchBlob({ uris, digest_function: 7 }), /^digest_function/],
      [pushBlob({ uris }), /^blob_digest/],
      [pushBlob({ uris: [], blob_digest }), /^uris/],
      [pushBlob({ uris, blob_digest, references_blobs: [{ hash: "00", size_bytes: 1 }] }), /^references_blobs\[0\]/],
      [
        pushBlob({ uris, blob_digest, references_directories: Array(10_001).fill(blob_digest) }),
        /^references_directories/,
      ],
    ];
    for (const [call, details] of bad)
      await expect(call).rejects.toMatchObject(refused(status.INVALID_ARGUMENT, details));
  });

  test("refuse to file what is not in the CAS", async () => {
    const { pushBlob } = await fixture();
    const call = pushBlob({ uris: ["urn:a"], blob_digest: digestMessage(digestOf(CONTENT)) });
    await expect(call).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
  });
});

describe("FetchBlob of a URL", () => {
  test("puts the content into the CAS, once, until the client wants it newer", async () => {
    const { origin, blobs, fetchBlob } = await fixture();
    const uris = [origin.serve("/a", CONTENT).href];
    const found = { status: { code: 0 }, uri: uris[0], blob_digest: digestMessage(digestOf(CONTENT)) };
    expect(await fetchBlob({ uris })).toMatchObject(found);
    expect(blobs.peek(digestOf(CONTENT))).toBe(true);
    expect(await fetchBlob({ uris })).toMatchObject(found);
    expect(origin.requestCount).toBe(1);
    const later = seconds(Math.ceil(Date.now() / 1000) + 60);
    expect(await fetchBlob({ uris, oldest_content_accepted: later })).toMatchObject(found);
    expect(origin.requestCount).toBe(2);
  });

  test("fetches again what has been retired", async () => {
    const { origin, entries, fetchBlob } = await fixture();
    const uris = [origin.serve("/a", CONTENT).href];
    await fetchBlob({ uris });
    entries.retire(casKey(digestOf(CONTENT)));
    expect(await fetchBlob({ uris })).toMatchObject({ status: { code: 0 } });
    expect(origin.requestCount).toBe(2);
  });

  test("asks one URI after the other until one has it", async () => {
    const { origin, fetchBlob } = await fixture();
    const uris = [origin.url("/none").href, origin.serve("/a", CONTENT).href, origin.serve("/b", CONTENT).href];
    expect(await fetchBlob({ uris, qualifiers: [sri(CONTENT)] })).toMatchObject({ status: { code: 0 }, uri: uris[1] });
    expect(origin.requests.map(({ url }) => url)).toEqual(["/none", "/a"]);
  });

  test("prefers what is stored under any of the URIs to every origin", async () => {
    const { origin, blobs, fetchBlob, pushBlob } = await fixture();
    const blob = await putBlob(blobs, "pushed");
    await pushBlob({ uris: ["urn:a"], blob_digest: digestMessage(blob) });
    const answer = await fetchBlob({ uris: [origin.serve("/a", CONTENT).href, "urn:a"] });
    expect(answer).toMatchObject({ uri: "urn:a", blob_digest: digestMessage(blob) });
    expect(origin.requestCount).toBe(0);
  });

  test("sends the headers that the qualifiers name", async () => {
    const { origin, fetchBlob } = await fixture();
    const qualifiers = [{ name: "http_header:Authorization", value: "Bearer x" }];
    await fetchBlob({ uris: [origin.serve("/a", CONTENT).href], qualifiers });
    expect(origin.requests[0]?.headers.authorization).toBe("Bearer x");
    // Another credential finds nothing of it.
    await fetchBlob({ uris: [origin.url("/a").href], qualifiers: [{ ...qualifiers[0], value: "Bearer y" }] });
    expect(origin.requestCount).toBe(2);
  });

  test("refuses a qualifier that no origin can honour, unless the content was pushed with it", async () => {
    const { origin, blobs, fetchBlob, pushBlob } = await fixture();
    const request = { uris: [origin.serve("/a", CONTENT).href], qualifiers: [{ name: "vcs.commit", value: "abc" }] };
    const unsupported = refused(status.INVALID_ARGUMENT, /"vcs.commit" not supported/);
    await expect(fetchBlob(request)).rejects.toMatchObject(unsupported);
    await pushBlob({ ...request, blob_digest: digestMessage(await putBlob(blobs, "pushed")) });
    expect(await fetchBlob(request)).toMatchObject({ status: { code: 0 } });
    expect(origin.requestCount).toBe(0);
  });

  test.each([
    ["another hash", status.ABORTED, { qualifiers: [sri(Buffer.from("other"))] }, "/a"],
    ["too many bytes", status.RESOURCE_EXHAUSTED, {}, "/large"],
    ["a private address", status.PERMISSION_DENIED, {}, "/private"],
    ["a server that is down", status.UNAVAILABLE, {}, "/down"],
    ["no time", status.DEADLINE_EXCEEDED, { timeout: seconds(0) }, "/stalls"],
  ])("tells %s in the answer", async (_what, code, fields, path) => {
    const { origin, fetchBlob } = await fixture();
    origin.serve("/a", CONTENT);
    origin.serve("/large", Buffer.alloc(1001));
    origin.redirect("/private", "http://10.0.0.1/");
    origin.on("/down", (response) => response.writeHead(503).end());
    origin.on("/stalls", () => {});
    const uri = origin.url(path).href;
    expect(await fetchBlob({ uris: [uri], ...fields })).toMatchObject({ status: { code }, uri, blob_digest: null });
  });

  test("stops at the timeout, and has the content for whoever asks again", async () => {
    const { origin, fetchBlob } = await fixture();
    const held = Promise.withResolvers<() => void>();
    const url = origin.on("/a", (response) => held.resolve(() => void response.end(CONTENT)));
    const request = { uris: [url.href] };
    const timeout = { seconds: 0, nanos: 1_000_000 };
    expect(await fetchBlob({ ...request, timeout })).toMatchObject({ status: { code: status.DEADLINE_EXCEEDED } });
    const again = fetchBlob(request);
    (await held.promise)();
    expect(await again).toMatchObject({ status: { code: 0 }, blob_digest: digestMessage(digestOf(CONTENT)) });
    expect(origin.requestCount).toBe(1);
  });
});
