import { describe, expect, test } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { BATCH_TOTAL_BYTES_MAX } from "../../src/grpc/capabilities-service.ts";
import {
  type ContentAddressableStorageOptions,
  ContentAddressableStorageService,
  contentAddressableStorageService,
} from "../../src/grpc/content-addressable-storage-service.ts";
import type { BatchUpdateBlobsRequestEntry, Digest as DigestMessage } from "../../src/grpc/messages.ts";
import { digestMessage } from "../../src/grpc/request-digest.ts";
import { expectCode, expectSameBytes } from "../contract/entry-store-contract.ts";
import { callContext, type CallContextOptions } from "../support/call-context.ts";
import { type CasContent, contentOf, randomContent, randomContents } from "../support/cas-content.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { encodedDigests } from "../support/encoded-digests.ts";
import { missingDigests } from "../support/missing-digests.ts";

const random = seededRandom(testSeed("ContentAddressableStorage"));
const OK = { code: 0, message: "", details: [] };
const common = { instance_name: "", digest_function: 0 };

function fixture(options: Partial<ContentAddressableStorageOptions> = {}, call: CallContextOptions = {}) {
  const entries = new MemoryEntryStore();
  const blobs = new EmptyBlobStore(new EntryBlobStore(entries));
  const faults: unknown[] = [];
  const service = new ContentAddressableStorageService({
    blobs,
    reportFault: (_, cause) => faults.push(cause),
    ...options,
  });
  return {
    entries,
    blobs,
    faults,
    service,
    find: (digests: DigestMessage[], fields = {}) =>
      service.findMissingBlobs({ ...common, blob_digests: encodedDigests(digests), ...fields }),
    update: async (requests: BatchUpdateBlobsRequestEntry[], fields = {}) =>
      (await service.batchUpdateBlobs({ ...common, requests, ...fields })).responses,
    read: async (digests: DigestMessage[], fields = {}) =>
      (await service.batchReadBlobs({ ...common, digests, acceptable_compressors: [], ...fields }, callContext(call)))
        .responses,
  };
}

function entryOf({ digest, bytes }: CasContent): BatchUpdateBlobsRequestEntry {
  return { digest: digestMessage(digest), data: bytes, compressor: 0 };
}

const badDigests: [string, DigestMessage][] = [
  ["an upper-case hash", { hash: "A".repeat(64), size_bytes: 1 }],
  ["a short hash", { hash: "a".repeat(63), size_bytes: 1 }],
  ["an empty hash", { hash: "", size_bytes: 0 }],
  ["a negative size", { hash: "a".repeat(64), size_bytes: -1 }],
  ["size 0 with another hash", { hash: "a".repeat(64), size_bytes: 0 }],
  ["the empty hash with a size", { hash: contentOf(Buffer.alloc(0)).digest.hash, size_bytes: 1 }],
];

describe("every call", () => {
  test.each([4, 7, -1, 99])("refuses digest function %i", async (digest_function) => {
    const { find, update, read } = fixture();
    await expectCode("invalid_argument", () => find([], { digest_function }));
    await expectCode("invalid_argument", () => update([], { digest_function }));
    await expectCode("invalid_argument", () => read([], { digest_function }));
  });

  test("takes SHA-256 by its number, and an instance by its name", async () => {
    const { find, update, read } = fixture();
    const fields = { digest_function: 1, instance_name: "a/b" };
    expect(await find([], fields)).toEqual({ missing_blob_digests: [] });
    expect(await update([], fields)).toEqual([]);
    expect(await read([], fields)).toEqual([]);
  });

  test("refuses an instance name with a reserved word", async () => {
    const { find, update, read } = fixture();
    const fields = { instance_name: "a/blobs" };
    await expectCode("invalid_argument", () => find([], fields));
    await expectCode("invalid_argument", () => update([], fields));
    await expectCode("invalid_argument", () => read([], fields));
  });
});

describe("FindMissingBlobs", () => {
  test("gives the missing ones in the order asked, never the empty blob, and renews the others", async () => {
    const { find, blobs, entries } = fixture();
    const contents = randomContents(random, [10, 20, 30, 40]);
    await blobs.put(contents[1]!.digest, contents[1]!.bytes);
    const empty = contentOf(Buffer.alloc(0));
    const asked = [contents[3]!, empty, contents[1]!, contents[0]!].map(({ digest }) => digestMessage(digest));
    expect(await find(asked)).toEqual({ missing_blob_digests: [asked[0], asked[3]] });
    expect(entries.renewed).toHaveLength(1);
  });

  test("lets other calls run in the middle of a large request", async () => {
    const { find } = fixture();
    const digests = Array.from({ length: 20_000 }, (_, index) => ({
      hash: (index + 1).toString(16).padStart(64, "0"),
      size_bytes: 1,
    }));
    let turns = 0;
    let isDone = false;
    const countTurns = (): void => {
      turns++;
      if (!isDone) setImmediate(countTurns);
    };
    setImmediate(countTurns);
    expect((await find(digests)).missing_blob_digests).toHaveLength(20_000);
    isDone = true;
    expect(turns).toBeGreaterThanOrEqual(10);
  });

  test.each(badDigests)("refuses the call for %s and names its place", async (_, bad) => {
    const good = digestMessage(randomContent(random, 1).digest);
    await expect(fixture().find([good, bad])).rejects.toThrow(/^blob_digests\[1\]\./);
    await expectCode("invalid_argument", () => fixture().find([good, bad]));
  });
});

describe("BatchUpdateBlobs", () => {
  test("stores every blob and answers in order", async () => {
    const { update, blobs } = fixture();
    const contents = randomContents(random, [0, 1, 100, 4096, 1_000_000]);
    const responses = await update(contents.map(entryOf));
    expect(responses).toEqual(contents.map(({ digest }) => ({ digest: digestMessage(digest), status: OK })));
    expect(
      await missingDigests(
        blobs,
        contents.map(({ digest }) => digest),
      ),
    ).toEqual([]);
  });

  test("stores thousands of small blobs, some of them twice", async () => {
    const { update, blobs } = fixture();
    const contents = randomContents(random, Array.from<number>({ length: 2000 }).fill(16));
    const responses = await update([...contents, ...contents.slice(0, 100)].map(entryOf));
    expect(responses.filter(({ status }) => status?.code === 0)).toHaveLength(2100);
    expect(
      await missingDigests(
        blobs,
        contents.map(({ digest }) => digest),
      ),
    ).toEqual([]);
  });

  test("gives a blob whose hash, size or compressor is wrong its own status, and the others succeed", async () => {
    const { update, blobs } = fixture();
    const [good, wrongHash, tooShort, compressed, last] = randomContents(random, [10, 10, 10, 10, 10]);
    const responses = await update([
      entryOf(good!),
      { ...entryOf(wrongHash!), data: random.bytes(10) },
      { ...entryOf(tooShort!), data: tooShort!.bytes.subarray(1) },
      { ...entryOf(compressed!), compressor: 2 },
      { ...entryOf(good!), digest: null },
      entryOf(last!),
    ]);
    expect(responses.map(({ status }) => status?.code)).toEqual([0, 3, 3, 3, 3, 0]);
    expect(responses[2]?.status?.message).toMatch(/^requests\[2\]\.data: expected 10 bytes, got 9/);
    const present = [good, wrongHash, tooShort, compressed, last].map((content) => blobs.peek(content!.digest));
    expect(present).toEqual([true, false, false, false, true]);
  });

  test.each(badDigests)("answers %s for its blob alone", async (_, bad) => {
    const good = randomContent(random, 5);
    const responses = await fixture().update([{ digest: bad, data: Buffer.of(1), compressor: 0 }, entryOf(good)]);
    expect(responses.map(({ status }) => status?.code)).toEqual([3, 0]);
  });

  test("refuses the call past the announced total, and takes one that is just at it", async () => {
    const { update, entries } = fixture({ batchBytesMax: 100 });
    const contents = randomContents(random, [60, 40]);
    expect((await update(contents.map(entryOf))).map(({ status }) => status?.code)).toEqual([0, 0]);
    const more = randomContents(random, [60, 41]);
    await expectCode("invalid_argument", () => update(more.map(entryOf)));
    expect(more.some(({ key }) => entries.peek(key))).toBe(false);
  });

  test("reports a fault of the store and tells the client a reference only", async () => {
    const { service, faults, blobs } = fixture();
    blobs.putAll = () => Promise.resolve([new Error("/secret/path")]);
    const { responses } = await service.batchUpdateBlobs({ ...common, requests: [entryOf(randomContent(random, 5))] });
    expect(responses[0]?.status?.code).toBe(13);
    expect(responses[0]?.status?.message).not.toContain("secret");
    expect(faults).toHaveLength(1);
  });

  test("says of each blob when a retry may succeed", async () => {
    const { update, blobs } = fixture();
    blobs.putAll = () => Promise.resolve([new CacheError("storage_full", "no space", { retryAfterMs: 1000 })]);
    const [response] = await update([entryOf(randomContent(random, 5))]);
    expect(response?.status?.code).toBe(8);
    expect(response?.status?.details).toHaveLength(1);
  });
});

describe("BatchReadBlobs", () => {
  test("gives each blob with its own status, in order", async () => {
    const { read, blobs } = fixture();
    const [present, missing, empty] = randomContents(random, [1000, 1000, 0]);
    await blobs.put(present!.digest, present!.bytes);
    const digests = [present!, missing!, empty!].map(({ digest }) => digestMessage(digest));
    const responses = await read([...digests, { hash: "x", size_bytes: 1 }], { acceptable_compressors: [1] });
    expect(responses.map(({ status }) => status?.code)).toEqual([0, 5, 0, 3]);
    expect(responses.map(({ digest }) => digest)).toEqual([...digests, { hash: "x", size_bytes: 1 }]);
    expect(responses.map(({ compressor }) => compressor)).toEqual([0, 0, 0, 0]);
    expectSameBytes(responses[0]?.data, present!.bytes);
    expect(responses.slice(1).map(({ data }) => data.length)).toEqual([0, 0, 0]);
  });

  test.each(badDigests)("answers %s for its blob alone", async (_, bad) => {
    const responses = await fixture().read([bad, digestMessage(contentOf(Buffer.alloc(0)).digest)]);
    expect(responses.map(({ status }) => status?.code)).toEqual([3, 0]);
  });

  test("refuses the call past the announced total, and takes one that is just at it", async () => {
    const { read } = fixture();
    const { hash } = randomContent(random, 1).digest;
    expect((await read([{ hash, size_bytes: BATCH_TOTAL_BYTES_MAX }])).map(({ status }) => status?.code)).toEqual([5]);
    await expectCode("invalid_argument", () => read([{ hash, size_bytes: BATCH_TOTAL_BYTES_MAX + 1 }]));
    await expectCode("invalid_argument", () =>
      read(Array.from({ length: 5 }, () => ({ hash, size_bytes: 1_000_000 }))),
    );
  });
});

test("the bound methods are the four that are answered, each of the right kind", () => {
  const { blobs } = fixture();
  const methods = contentAddressableStorageService({ blobs, reportFault: () => undefined });
  expect(Object.fromEntries(methods.map(({ kind, definition }) => [definition.path.split("/").at(-1), kind]))).toEqual({
    FindMissingBlobs: "unary",
    BatchUpdateBlobs: "unary",
    BatchReadBlobs: "unary",
    GetTree: "serverStream",
  });
});
