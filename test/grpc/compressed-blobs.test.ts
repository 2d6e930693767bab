import { zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { decodeZstd } from "../../src/cache/zstd/zstd-decoder.ts";
import { ContentAddressableStorageService } from "../../src/grpc/content-addressable-storage-service.ts";
import { requestMetadataCodec } from "../../src/grpc/proto-definitions.ts";
import { expectCode, expectSameBytes } from "../contract/entry-store-contract.ts";
import { ByteStreamFixture, writeRequest, writeRequests } from "../support/byte-stream-fixture.ts";
import { callContext } from "../support/call-context.ts";
import { type CasContent, contentOf, EDGE_SIZES, randomContent } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { responsesOf } from "../support/response-source.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { textContent } from "../support/zstd-data.ts";

const random = seededRandom(testSeed("compressed-blobs"));

function compressedName({ digest }: CasContent): string {
  return `compressed-blobs/zstd/${digest.hash}/${digest.sizeBytes}`;
}

function compressedUploadName(content: CasContent, uploadId = "upload-1"): string {
  return `uploads/${uploadId}/${compressedName(content)}`;
}

/** The messages of a compressed upload. */
function compressedWrites(content: CasContent, data = zstdCompressSync(content.bytes), offset = 0) {
  return writeRequests(compressedUploadName(content), { ...content, bytes: data }, offset);
}

function toolHeaders(tool_name: string) {
  const metadata = { tool_details: { tool_name, tool_version: "1" } };
  return { "build.bazel.remote.execution.v2.requestmetadata-bin": requestMetadataCodec.encode(metadata) };
}

describe("ByteStream.Write of zstd data", () => {
  test.each(EDGE_SIZES.filter((sizeBytes) => sizeBytes > 0))(
    "of a blob of %i bytes is answered with the bytes received and can be read either way",
    async (sizeBytes) => {
      const fixture = new ByteStreamFixture();
      const content = textContent(random, sizeBytes);
      const data = zstdCompressSync(content.bytes);
      expect(await fixture.write(compressedWrites(content, data))).toEqual({ committed_size: data.length });
      expectSameBytes(await fixture.stored(content), content.bytes);
      expectSameBytes(await fixture.read(compressedName(content)), data);
      expect(fixture.entries.openStaged + fixture.entries.openContents).toBe(0);
    },
  );

  test.each(["siso", "reclient", "re-client"])("is answered with the size of the blob where %s asks", async (tool) => {
    const fixture = new ByteStreamFixture();
    const content = textContent(random, 10_000);
    const response = await fixture.write(compressedWrites(content), { binaryHeaders: toolHeaders(tool) });
    expect(response).toEqual({ committed_size: 10_000 });
  });

  test("is answered with the bytes received where the metadata names another tool or is none", async () => {
    const header = "build.bazel.remote.execution.v2.requestmetadata-bin";
    for (const binaryHeaders of [toolHeaders("bazel"), { [header]: Buffer.from("garbage") }]) {
      const content = textContent(random, 10_000);
      const data = zstdCompressSync(content.bytes);
      const fixture = new ByteStreamFixture();
      expect(await fixture.write(compressedWrites(content, data), { binaryHeaders })).toEqual({
        committed_size: data.length,
      });
    }
  });

  test("of a blob that is there is answered with -1, at the start and midway, and for the empty blob", async () => {
    const fixture = new ByteStreamFixture();
    const content = textContent(random, 100_000);
    const { stream, response } = fixture.openWrite();
    const messages = compressedWrites(content);
    stream.send(messages[0]!);
    await new Promise(setImmediate);
    await fixture.blobs.put(content.digest, content.bytes);
    stream.send(...messages.slice(1));
    expect(await response).toEqual({ committed_size: -1 });
    expect(await fixture.write(compressedWrites(content))).toEqual({ committed_size: -1 });
    expect(await fixture.write(compressedWrites(contentOf(Buffer.alloc(0))))).toEqual({ committed_size: -1 });
    expect(fixture.entries.openStaged).toBe(0);
  });

  test("goes on where an interrupted one stopped, in compressed bytes", async () => {
    const fixture = new ByteStreamFixture();
    const content = textContent(random, 100_000);
    const data = zstdCompressSync(content.bytes);
    const name = compressedUploadName(content);
    await fixture.interruptAfter(name, { ...content, bytes: data }, 20_000);
    expect(await fixture.status(name)).toEqual({ committed_size: 20_000, complete: false });
    expect(await fixture.write(compressedWrites(content, data, 20_000))).toEqual({ committed_size: data.length });
    expectSameBytes(await fixture.stored(content), content.bytes);
    expect(await fixture.status(name)).toEqual({ committed_size: 100_000, complete: true });
  });

  test("does not go on where an uncompressed one of the same id stopped", async () => {
    const fixture = new ByteStreamFixture();
    const content = textContent(random, 100_000);
    await fixture.interruptAfter(`uploads/upload-1/blobs/${content.digest.hash}/100000`, content, 20_000);
    expect(await fixture.status(compressedUploadName(content))).toEqual({ committed_size: 0, complete: false });
  });

  test.each([
    ["is no zstd data", (_: Buffer, bytes: Buffer) => bytes],
    ["is cut off", (data: Buffer) => data.subarray(0, -1)],
    ["has garbage behind it", (data: Buffer) => Buffer.concat([data, Buffer.from("?")])],
    ["expands past the size", (data: Buffer) => Buffer.concat([data, data])],
    ["expands to less than the size", (_: Buffer, bytes: Buffer) => zstdCompressSync(bytes.subarray(1))],
    ["expands to a thousand times the size", () => zstdCompressSync(Buffer.alloc(10_000_000))],
    ["expands to other bytes", (_: Buffer, bytes: Buffer) => zstdCompressSync(bytes.toReversed())],
  ])("is refused and not kept where it %s", async (_, spoil) => {
    const fixture = new ByteStreamFixture();
    const content = textContent(random, 10_000);
    const data = Buffer.from(spoil(zstdCompressSync(content.bytes), content.bytes));
    await expectCode("invalid_argument", () => fixture.write(compressedWrites(content, data)));
    expect(await fixture.stored(content)).toBeUndefined();
    expect(await fixture.status(compressedUploadName(content))).toEqual({ committed_size: 0, complete: false });
    expect(fixture.entries.openStaged).toBe(0);
  });

  test("is refused as soon as it is longer than any encoding of the blob", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 1000);
    const { stream, response } = fixture.openWrite();
    stream.send(writeRequest(compressedUploadName(content), 0, random.bytes(60_000)));
    stream.send(writeRequest("", 60_000, random.bytes(60_000)));
    await expectCode("invalid_argument", () => response);
    expect(fixture.entries.openStaged).toBe(0);
  });
});

describe("ByteStream.Read of a compressed name", () => {
  test.each([1, 1000, 40_000, 1_000_000])("encodes %i bytes that are not stored so", async (sizeBytes) => {
    const fixture = new ByteStreamFixture();
    const content = textContent(random, sizeBytes);
    await fixture.blobs.put(content.digest, content.bytes);
    const data = await fixture.read(compressedName(content));
    expectSameBytes(decodeZstd([data], sizeBytes), content.bytes);
    expect(data.length).toBeLessThan(sizeBytes * 0.7 + 20);
    expect(fixture.entries.openContents).toBe(0);
  });

  test.each([true, false])("counts the offset in bytes of the blob, stored encoded: %s", async (isEncoded) => {
    const fixture = new ByteStreamFixture();
    const content = textContent(random, 300_000);
    if (isEncoded) await fixture.write(compressedWrites(content));
    else await fixture.blobs.put(content.digest, content.bytes);
    for (const offset of [1, 100_000, 299_999, 300_000]) {
      const data = await fixture.read(compressedName(content), offset);
      expectSameBytes(decodeZstd([data], 300_000 - offset), content.bytes.subarray(offset));
    }
    await expectCode("out_of_range", () => fixture.read(compressedName(content), 300_001));
    await expectCode("out_of_range", () => fixture.read(compressedName(content), -1));
    await expectCode("invalid_argument", () => fixture.read(compressedName(content), 0, 1));
    expect(fixture.entries.openContents).toBe(0);
  });

  test("of the empty blob is a frame of nothing, and of a missing one NOT_FOUND", async () => {
    const fixture = new ByteStreamFixture();
    expect(decodeZstd([await fixture.read(compressedName(contentOf(Buffer.alloc(0))))], 0)).toHaveLength(0);
    await expectCode("not_found", () => fixture.read(compressedName(randomContent(random, 10))));
  });

  test("a reader that leaves closes the entry", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 3_000_000);
    await fixture.blobs.put(content.digest, content.bytes);
    const request = { resource_name: compressedName(content), read_offset: 0, read_limit: 0 };
    for await (const { data } of responsesOf(fixture.service.read(request, callContext()))) {
      expect(data.length).toBeGreaterThan(0);
      break;
    }
    expect(fixture.entries.openContents).toBe(0);
  });
});

describe("batches", () => {
  const common = { instance_name: "", digest_function: 0 };
  const digestMessage = ({ digest }: CasContent) => ({ hash: digest.hash, size_bytes: digest.sizeBytes });

  function service() {
    const { blobs, entries } = new ByteStreamFixture();
    const cas = new ContentAddressableStorageService({
      blobs,
      reportFault: (_, cause) => expect(cause).toBeUndefined(),
    });
    return { cas, blobs, entries };
  }

  test("take each blob in its own encoding, and say of each what is wrong with it", async () => {
    const { cas, blobs } = service();
    const contents = [0, 1, 1000, 50_000, 1000].map((sizeBytes) => textContent(random, sizeBytes));
    const requests = contents.map((content, i) => ({
      digest: digestMessage(content),
      data: i === 4 ? Buffer.from("not zstd") : i === 2 ? content.bytes : zstdCompressSync(content.bytes),
      compressor: i === 2 ? 0 : 1,
    }));
    const { responses } = await cas.batchUpdateBlobs({ ...common, requests });
    expect(responses.map(({ status }) => status?.code)).toEqual([0, 0, 0, 0, 3]);
    for (const content of contents.slice(0, 4)) {
      expectSameBytes(await (await blobs.get(content.digest))?.bytes(), content.bytes);
    }
  });

  test("give a blob as zstd where it is stored so, that is shorter, and the client can read it", async () => {
    const { cas, blobs } = service();
    const [compressed, incompressible, plain] = [
      textContent(random, 10_000),
      randomContent(random, 100),
      textContent(random, 10_000),
    ];
    const data = zstdCompressSync(compressed!.bytes);
    await blobs.putAll([
      { digest: compressed!.digest, bytes: data, encoding: "zstd" },
      { digest: incompressible!.digest, bytes: zstdCompressSync(incompressible!.bytes), encoding: "zstd" },
      { digest: plain!.digest, bytes: plain!.bytes },
    ]);
    const contents = [compressed!, incompressible!, plain!];
    const digests = contents.map(digestMessage);
    const asTheyAre = await cas.batchReadBlobs({ ...common, digests, acceptable_compressors: [2, 3] }, callContext());
    expect(asTheyAre.responses.map(({ compressor }) => compressor)).toEqual([0, 0, 0]);
    for (const [i, { data: given }] of asTheyAre.responses.entries()) expectSameBytes(given, contents[i]!.bytes);
    const accepted = await cas.batchReadBlobs({ ...common, digests, acceptable_compressors: [0, 1] }, callContext());
    expect(accepted.responses.map(({ compressor }) => compressor)).toEqual([1, 0, 0]);
    expectSameBytes(accepted.responses[0]?.data, data);
    expectSameBytes(accepted.responses[1]?.data, incompressible!.bytes);
    expectSameBytes(accepted.responses[2]?.data, plain!.bytes);
  });

  test("are bounded by what they decode to", async () => {
    const { cas } = service();
    const content = contentOf(Buffer.alloc(5_000_000));
    const requests = [{ digest: digestMessage(content), data: zstdCompressSync(content.bytes), compressor: 1 }];
    await expectCode("invalid_argument", () => cas.batchUpdateBlobs({ ...common, requests }));
  });
});
