import { describe, expect, test, vi } from "vitest";
import { expectCode, expectSameBytes } from "../contract/entry-store-contract.ts";
import { ByteStreamFixture, blobNameOf } from "../support/byte-stream-fixture.ts";
import { callContext } from "../support/call-context.ts";
import { EDGE_SIZES, contentOf, randomContent } from "../support/cas-content.ts";
import { responsesOf } from "../support/response-source.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const random = seededRandom(testSeed("ByteStream.Read"));

describe("ByteStream.Read", () => {
  test.each(EDGE_SIZES)("gives a blob of %i bytes back byte-exact", async (sizeBytes) => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, sizeBytes);
    await fixture.blobs.put(content.digest, content.bytes);
    expectSameBytes(await fixture.read(blobNameOf(content)), content.bytes);
    expectSameBytes(await fixture.read(`some/instance/${blobNameOf(content)}`), content.bytes);
    expect(fixture.entries.openContents).toBe(0);
  });

  test("splits what the store gives into messages of the configured size at most", async () => {
    const fixture = new ByteStreamFixture({ service: { readChunkBytesMax: 1000 }, entries: { chunkBytes: 2500 } });
    const content = randomContent(random, 6000);
    await fixture.blobs.put(content.digest, content.bytes);
    const sizes: number[] = [];
    const request = { resource_name: blobNameOf(content), read_offset: 0, read_limit: 0 };
    for await (const { data } of responsesOf(fixture.service.read(request, callContext()))) sizes.push(data.length);
    expect(sizes).toEqual([1000, 1000, 500, 1000, 1000, 500, 1000]);
  });

  test.each([
    [0, 0],
    [0, 1],
    [999, 1],
    [1000, 0],
    [1000, 5],
    [100, 500],
    [100, 5000],
    [0, Number.MAX_SAFE_INTEGER],
  ])("from offset %i with limit %i gives that part", async (offset, limit) => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 1000);
    await fixture.blobs.put(content.digest, content.bytes);
    const expected = content.bytes.subarray(offset, limit === 0 ? undefined : offset + limit);
    expectSameBytes(await fixture.read(blobNameOf(content), offset, limit), expected);
  });

  test.each([
    ["out_of_range", -1, 0],
    ["out_of_range", 1001, 0],
    ["invalid_argument", 0, -1],
  ] as const)("answers %s to offset %i with limit %i", async (code, offset, limit) => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 1000);
    await fixture.blobs.put(content.digest, content.bytes);
    await expectCode(code, () => fixture.read(blobNameOf(content), offset, limit));
  });

  test("answers not_found to a blob that is missing", async () => {
    await expectCode("not_found", () => new ByteStreamFixture().read(blobNameOf(randomContent(random, 10))));
  });

  test("of the empty blob is an empty stream, also though it was never stored", async () => {
    const name = blobNameOf(contentOf(Buffer.alloc(0)));
    expect(await new ByteStreamFixture().read(name)).toHaveLength(0);
    await expectCode("out_of_range", () => new ByteStreamFixture().read(name, 1));
  });

  test("refuses malformed names, names of uploads, compressors, and a header that differs", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 10);
    await fixture.blobs.put(content.digest, content.bytes);
    const name = blobNameOf(content);
    await expectCode("invalid_argument", () => fixture.read(""));
    await expectCode("invalid_argument", () => fixture.read(`uploads/1/${name}`));
    await expectCode("invalid_argument", () => fixture.read(`compressed-blobs/lz4/${name.slice(6)}`));
    await expectCode("invalid_argument", () => fixture.read(`compressed-blobs/deflate/${name.slice(6)}`));
    const call = callContext({ headers: { "build.bazel.remote.execution.v2.resource-name": "other" } });
    const request = { resource_name: name, read_offset: 0, read_limit: 0 };
    await expectCode("invalid_argument", async () => fixture.service.read(request, call));
  });

  test("a reader that leaves closes the entry", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 1_000_000);
    await fixture.blobs.put(content.digest, content.bytes);
    const request = { resource_name: blobNameOf(content), read_offset: 0, read_limit: 0 };
    const reading = fixture.service.read(request, callContext());
    while (reading.take(1000) === undefined) await reading.more();
    expect(fixture.entries.openContents).toBe(1);
    reading.close();
    reading.close();
    expect(fixture.entries.openContents).toBe(0);
  });

  test("a reader that leaves before the entry is open leaves nothing open", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 1000);
    await fixture.blobs.put(content.digest, content.bytes);
    const get = fixture.blobs.get.bind(fixture.blobs);
    const opening = Promise.withResolvers<void>();
    vi.spyOn(fixture.blobs, "get").mockImplementation((digest) => opening.promise.then(() => get(digest)));
    const request = { resource_name: blobNameOf(content), read_offset: 0, read_limit: 0 };
    const reading = fixture.service.read(request, callContext());
    expect(reading.take(1000)).toBeUndefined();
    const more = reading.more();
    reading.close();
    opening.resolve();
    await more;
    expect(fixture.entries.openContents).toBe(0);
  });
});
