import { describe, expect, test } from "vitest";
import type { Qualifier } from "../../src/asset/asset.ts";
import { AssetStore } from "../../src/asset/asset-store.ts";
import { Assets, type FetchOutcome, type FetchRequest, type PushRequest } from "../../src/asset/assets.ts";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { RecipeStore } from "../../src/cache/chunking/recipe-store.ts";
import { SplicedBlobStore } from "../../src/cache/spliced-blob-store.ts";
import { casKey } from "../../src/cache/entry-key.ts";
import { protoOutputReferences } from "../../src/grpc/output-references-reader.ts";
import { expectCode } from "../contract/entry-store-contract.ts";
import { directoryOf, putBlob, putDirectory } from "../support/action-results.ts";
import { digestOf } from "../support/cas-content.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";

const URI = "urn:asset:1";
const NEVER = new AbortController().signal;
const absent = digestOf(Buffer.from("never stored"));

function fixture() {
  const entries = new MemoryEntryStore();
  const blobs = new EmptyBlobStore(new SplicedBlobStore(new EntryBlobStore(entries), new RecipeStore(entries)));
  const time = { nowMs: 1_000_000 };
  const assets = new Assets({
    store: new AssetStore(entries),
    blobs,
    references: protoOutputReferences,
    clock: { wallMs: () => time.nowMs, monotonicMs: () => time.nowMs },
    origins: undefined,
  });
  const scope = { instanceName: "", kind: "blob", fn: "sha256", uris: [URI], qualifiers: [] } as const;
  return {
    entries,
    blobs,
    time,
    push: (request: Partial<PushRequest> & Pick<PushRequest, "digest">) =>
      assets.push({ ...scope, expireAtMs: undefined, blobs: [], directories: [], ...request }),
    fetch: (request: Partial<FetchRequest> = {}) =>
      assets.fetch({ ...scope, oldestAcceptedMs: undefined, timeoutMs: undefined, ...request }, NEVER),
  };
}

function expectMiss(outcome: FetchOutcome): void {
  expect(outcome).toMatchObject({ failure: { reason: "not_found" } });
}

describe("a pushed blob", () => {
  test("is found under each of its URIs, which the answer names, and under no other", async () => {
    const { blobs, push, fetch } = fixture();
    const digest = await putBlob(blobs, "content");
    await push({ digest, uris: ["urn:a", "urn:b"] });
    for (const uri of ["urn:a", "urn:b"]) expect(await fetch({ uris: ["urn:c", uri] })).toEqual({ uri, digest });
    expectMiss(await fetch({ uris: ["urn:c", "urn:A"] }));
  });

  test("belongs to its instance, its kind and its qualifiers", async () => {
    const { blobs, push, fetch } = fixture();
    const digest = await putBlob(blobs, "content");
    const qualifiers: Qualifier[] = [
      { name: "b", value: "2" },
      { name: "a", value: "1" },
    ];
    await push({ digest, qualifiers });
    expect(await fetch({ qualifiers: qualifiers.toReversed() })).toEqual({ uri: URI, digest });
    expectMiss(await fetch({ qualifiers, instanceName: "other" }));
    expectMiss(await fetch({ qualifiers, kind: "directory" }));
    expectMiss(await fetch({ qualifiers: qualifiers.slice(1) }));
    expectMiss(await fetch({ qualifiers: [{ name: "a", value: "2" }, ...qualifiers.slice(0, 1)] }));
  });

  test("is not confused with one whose parts only read the same one after another", async () => {
    const { blobs, push, fetch } = fixture();
    await push({ digest: await putBlob(blobs, "content"), qualifiers: [{ name: "a", value: '","b' }] });
    expectMiss(await fetch({ qualifiers: [{ name: 'a","', value: "b" }] }));
    expectMiss(await fetch({ uris: [`${URI}a`], qualifiers: [] }));
  });

  test("takes the place of an earlier one", async () => {
    const { blobs, push, fetch } = fixture();
    await push({ digest: await putBlob(blobs, "first") });
    const digest = await putBlob(blobs, "second");
    await push({ digest });
    expect(await fetch()).toEqual({ uri: URI, digest });
  });

  test("is found until it expires, and a later push can change when that is", async () => {
    const { blobs, time, push, fetch } = fixture();
    const digest = await putBlob(blobs, "content");
    await push({ digest, expireAtMs: 1_000_100 });
    time.nowMs = 1_000_099;
    expect(await fetch()).toEqual({ uri: URI, digest });
    time.nowMs = 1_000_100;
    expectMiss(await fetch());
    await push({ digest, expireAtMs: 1_000_200 });
    expect(await fetch()).toEqual({ uri: URI, digest });
  });

  test("is not found by those who want content from after it", async () => {
    const { blobs, push, fetch } = fixture();
    const digest = await putBlob(blobs, "content");
    await push({ digest });
    expect(await fetch({ oldestAcceptedMs: 1_000_000 })).toEqual({ uri: URI, digest });
    expectMiss(await fetch({ oldestAcceptedMs: 1_000_001 }));
  });

  test("has to be in the CAS when it is pushed", async () => {
    const { push, fetch } = fixture();
    await expectCode("failed_precondition", () => push({ digest: absent }));
    expectMiss(await fetch());
  });

  test("is a miss once it is gone, and holds a lease while it is answered with", async () => {
    const { entries, blobs, push, fetch } = fixture();
    const digest = await putBlob(blobs, "content");
    await push({ digest });
    entries.renewed.length = 0;
    expect(await fetch()).toEqual({ uri: URI, digest });
    expect(entries.renewed.some((key) => key.includes(digest.hash))).toBe(true);
    entries.retire(casKey(digest));
    expectMiss(await fetch());
  });

  test("is a miss once a blob, or a file below a directory, that it refers to is gone", async () => {
    const { entries, blobs, push, fetch } = fixture();
    const file = await putBlob(blobs, "file");
    const directory = await putDirectory(blobs, directoryOf({ file }));
    const referred = await putBlob(blobs, "referred");
    await push({ digest: await putBlob(blobs, "content"), blobs: [referred], directories: [directory] });
    expect(await fetch()).toHaveProperty("digest");
    for (const digest of [referred, file, directory]) {
      const bytes = await (await blobs.get(digest))!.bytes();
      entries.retire(casKey(digest));
      expectMiss(await fetch());
      await blobs.put(digest, bytes);
      expect(await fetch()).toHaveProperty("digest");
    }
  });

  test("with a checksum that its digest contradicts is refused", async () => {
    const { blobs, push, fetch } = fixture();
    const digest = await putBlob(blobs, "content");
    const sri = (hash: string): Qualifier[] => [
      { name: "checksum.sri", value: `sha256-${Buffer.from(hash, "hex").toString("base64")}` },
    ];
    await expectCode("invalid_argument", () => push({ digest, qualifiers: sri(absent.hash) }));
    await push({ digest, qualifiers: sri(digest.hash) });
    expect(await fetch({ qualifiers: sri(digest.hash) })).toEqual({ uri: URI, digest });
  });
});

describe("a pushed directory", () => {
  test("is found while every directory and file below it is there", async () => {
    const { entries, blobs, push, fetch } = fixture();
    const file = await putBlob(blobs, "deep file");
    const deep = await putDirectory(blobs, directoryOf({ file }));
    const middle = await putDirectory(blobs, directoryOf({}, { deep }));
    const digest = await putDirectory(blobs, directoryOf({ top: await putBlob(blobs, "top file") }, { deep, middle }));
    await push({ kind: "directory", digest });
    const found = { uri: URI, digest };
    expect(await fetch({ kind: "directory" })).toEqual(found);
    for (const part of [digest, middle, deep, file]) {
      const bytes = await (await blobs.get(part))!.bytes();
      entries.retire(casKey(part));
      expectMiss(await fetch({ kind: "directory" }));
      await blobs.put(part, bytes);
      expect(await fetch({ kind: "directory" })).toEqual(found);
    }
  });

  test("that is incomplete, or no directory at all, is refused", async () => {
    const { blobs, push } = fixture();
    const incomplete = await putDirectory(blobs, directoryOf({ absent }));
    await expectCode("failed_precondition", () => push({ kind: "directory", digest: incomplete }));
    const noDirectory = await putBlob(blobs, Buffer.from([0x0a, 0xff]));
    await expectCode("failed_precondition", () => push({ kind: "directory", digest: noDirectory }));
  });

  test("may be the empty one", async () => {
    const { blobs, push, fetch } = fixture();
    const digest = await putDirectory(blobs, directoryOf({}));
    await push({ kind: "directory", digest });
    expect(await fetch({ kind: "directory" })).toEqual({ uri: URI, digest });
  });
});

test("without origins a URL that nobody has pushed is a miss, with any qualifiers", async () => {
  const { fetch } = fixture();
  expectMiss(await fetch({ uris: ["http://127.0.0.1:1/"], qualifiers: [{ name: "vcs.commit", value: "abc" }] }));
});
