import { describe, expect, test } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { Places } from "../../src/cache/places.ts";
import { expectCode, expectSameBytes } from "../contract/entry-store-contract.ts";
import { ByteStreamFixture, uploadNameOf, writeRequest, writeRequests } from "../support/byte-stream-fixture.ts";
import { EDGE_SIZES, contentOf, randomContent } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const random = seededRandom(testSeed("ByteStream.Write"));
const HEADER = "build.bazel.remote.execution.v2.resource-name";
const NOTHING = Buffer.alloc(0);

function expectNothingHeld({ entries, timers }: ByteStreamFixture): void {
  expect(entries.openStaged).toBe(0);
  expect(entries.stagedBytes).toBe(0);
  expect(timers.running).toBe(0);
}

describe("a whole upload", () => {
  test.each(EDGE_SIZES)("of %i bytes is stored and answered with its size", async (sizeBytes) => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, sizeBytes);
    const response = await fixture.write(writeRequests(uploadNameOf(content), content));
    expect(response).toEqual({ committed_size: sizeBytes });
    expectSameBytes(await fixture.stored(content), content.bytes);
    expectNothingHeld(fixture);
  });

  test("in one message, in bytes, with empty messages in between, and with the name repeated is the same", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 300);
    const name = uploadNameOf(content);
    const inBytes = writeRequests(name, content, 0, 1);
    const repeated = writeRequests(name, content, 0, 100).map((message) => ({ ...message, resource_name: name }));
    const withEmpty = [writeRequest(name, 0, NOTHING), ...inBytes.slice(0, 10), writeRequest("", 10, NOTHING)];
    for (const messages of [
      [writeRequest(name, 0, content.bytes, true)],
      inBytes,
      repeated,
      [...withEmpty, ...inBytes.slice(10)],
      [
        ...inBytes.slice(0, -1),
        writeRequest("", 299, content.bytes.subarray(299)),
        writeRequest("", 300, NOTHING, true),
      ],
    ]) {
      fixture.entries.retire(content.key);
      expect(await fixture.write(messages)).toEqual({ committed_size: 300 });
      expectSameBytes(await fixture.stored(content), content.bytes);
    }
    expectNothingHeld(fixture);
  });

  test("does not wait for the half-close", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 100);
    const { stream, response } = fixture.openWrite();
    stream.send(...writeRequests(uploadNameOf(content), content));
    expect(await response).toEqual({ committed_size: 100 });
    expectNothingHeld(fixture);
  });

  test("is refused while too many others are received, unless the blob is there", async () => {
    const fixture = new ByteStreamFixture({ service: { places: new Places("uploads", 1, 0) } });
    const [known, held, other] = [1, 2, 3].map((bytes) => randomContent(random, 100 * bytes));
    const write = (content: typeof known): Promise<unknown> =>
      fixture.write(writeRequests(uploadNameOf(content!), content!));
    await write(known);
    const release = fixture.entries.holdCommits();
    const first = write(held);
    const refusal = await write(other).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "resource_exhausted", retryAfterMs: 1000 });
    expect(await write(known)).toEqual({ committed_size: 100 });
    release();
    expect(await first).toEqual({ committed_size: 200 });
    expect(await write(other)).toEqual({ committed_size: 300 });
    expectNothingHeld(fixture);
  });

  test("I2: is answered only after the blob is visible", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 100);
    const release = fixture.entries.holdCommits();
    let isAnswered = false;
    const response = fixture.write(writeRequests(uploadNameOf(content), content)).then(() => {
      isAnswered = true;
      return fixture.blobs.peek(content.digest);
    });
    await new Promise(setImmediate);
    expect(isAnswered).toBe(false);
    release();
    expect(await response).toBe(true);
  });

  test("339 at once, in chunks of many sizes, all come back byte-exact", async () => {
    const fixture = new ByteStreamFixture();
    const contents = Array.from({ length: 339 }, () => randomContent(random, random.int(0, 60_000)));
    await Promise.all(
      contents.map(async (content, index) => {
        const messages = writeRequests(uploadNameOf(content, `id-${index}`), content, 0, random.int(100, 20_000));
        expect(await fixture.write(messages)).toEqual({ committed_size: content.bytes.length });
        expectSameBytes(await fixture.stored(content), content.bytes);
      }),
    );
    expectNothingHeld(fixture);
  });
});

describe("a blob that is present", () => {
  test("at the start ends the call at once, without a look at the bytes, and renews its lease", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 1000);
    await fixture.blobs.put(content.digest, content.bytes);
    const { stream, response } = fixture.openWrite();
    stream.send(writeRequest(uploadNameOf(content), 0, content.bytes.subarray(0, 1)));
    expect(await response).toEqual({ committed_size: 1000 });
    expect(fixture.entries.stagedEver).toBe(0);
    expect(fixture.entries.renewed).toHaveLength(1);
    expectNothingHeld(fixture);
  });

  test("midway ends the call with the next message, and the rest is not read", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 100_000);
    const messages = writeRequests(uploadNameOf(content), content, 0, 10_000);
    const { stream, response } = fixture.openWrite();
    stream.send(...messages.slice(0, 3));
    await new Promise(setImmediate);
    await fixture.blobs.put(content.digest, content.bytes);
    stream.send(...messages.slice(3));
    expect(await response).toEqual({ committed_size: 100_000 });
    expect(stream.taken).toBe(4);
    expectNothingHeld(fixture);
  });

  test("is accepted although the empty blob was never stored", async () => {
    const fixture = new ByteStreamFixture();
    const empty = contentOf(NOTHING);
    expect(await fixture.write([writeRequest(uploadNameOf(empty), 0, NOTHING, true)])).toEqual({ committed_size: 0 });
    expect(fixture.entries.stagedEver).toBe(0);
  });

  test("I4: two uploads of one digest under two names both succeed", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 50_000);
    const uploads = ["a", "b"].map((id) => fixture.write(writeRequests(uploadNameOf(content, id), content)));
    expect(await Promise.all(uploads)).toEqual([{ committed_size: 50_000 }, { committed_size: 50_000 }]);
    expectNothingHeld(fixture);
  });
});

describe("a wrong upload keeps nothing:", () => {
  test("another hash", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 20_000);
    const wrong = { ...content, bytes: random.bytes(20_000) };
    await expectCode("invalid_argument", () => fixture.write(writeRequests(uploadNameOf(content), wrong)));
    expect(await fixture.stored(content)).toBeUndefined();
    expect(await fixture.status(uploadNameOf(content))).toEqual({ committed_size: 0, complete: false });
    expectNothingHeld(fixture);
  });

  test("fewer bytes than the size at finish_write", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 1000);
    const short = [writeRequest(uploadNameOf(content), 0, content.bytes.subarray(0, 999), true)];
    await expectCode("invalid_argument", () => fixture.write(short));
    expect(await fixture.status(uploadNameOf(content))).toEqual({ committed_size: 0, complete: false });
    expectNothingHeld(fixture);
  });

  test("a byte past the size, refused while the stream is still open", async () => {
    const fixture = new ByteStreamFixture();
    const content = randomContent(random, 1000);
    const { stream, response } = fixture.openWrite();
    stream.send(writeRequest(uploadNameOf(content), 0, content.bytes), writeRequest("", 1000, Buffer.of(1)));
    await expectCode("invalid_argument", () => response);
    expectNothingHeld(fixture);
  });
});

describe("a malformed stream is refused:", () => {
  const content = randomContent(random, 1000);
  const name = uploadNameOf(content);
  const whole = content.bytes;

  test.each([
    ["no message at all", []],
    ["no name", [writeRequest("", 0, whole, true)]],
    ["the name of a blob to read", [writeRequest(`blobs/${content.digest.hash}/1000`, 0, whole, true)]],
    ["a compressor that is unknown", [writeRequest(name.replace("/blobs/", "/compressed-blobs/lz4/"), 0, whole, true)]],
    [
      "a compressor that is not offered",
      [writeRequest(name.replace("/blobs/", "/compressed-blobs/brotli/"), 0, whole)],
    ],
    ["a first offset without anything committed", [writeRequest(name, 1, whole.subarray(1), true)]],
    ["a negative offset", [writeRequest(name, -1, whole, true)]],
    ["a later offset that leaves a gap", [writeRequest(name, 0, whole.subarray(0, 9)), writeRequest("", 10, whole)]],
    ["a later offset that goes back", [writeRequest(name, 0, whole.subarray(0, 9)), writeRequest("", 8, whole)]],
    ["another name later", [writeRequest(name, 0, whole.subarray(0, 9)), writeRequest(`${name}x`, 9, whole, true)]],
    ["the end without finish_write", [writeRequest(name, 0, whole)]],
  ])("%s", async (_, messages) => {
    const fixture = new ByteStreamFixture();
    await expectCode("invalid_argument", () => fixture.write(messages));
    expect(await fixture.stored(content)).toBeUndefined();
  });

  test("a message after finish_write, seen before the reply", async () => {
    const fixture = new ByteStreamFixture();
    const release = fixture.entries.holdCommits();
    const { stream, response } = fixture.openWrite();
    stream.send(writeRequest(name, 0, whole, true), writeRequest("", 1000, NOTHING));
    await new Promise(setImmediate);
    release();
    await expectCode("invalid_argument", () => response);
    expectNothingHeld(fixture);
  });

  test("a blob over the limit, from the name alone", async () => {
    const fixture = new ByteStreamFixture({ service: { blobBytesMax: 999 } });
    const { stream, response } = fixture.openWrite();
    stream.send(writeRequest(name, 0, NOTHING));
    await expectCode("invalid_argument", () => response);
    expect(fixture.entries.stagedEver).toBe(0);
    const atLimit = new ByteStreamFixture({ service: { blobBytesMax: 1000 } });
    expect(await atLimit.write([writeRequest(name, 0, whole, true)])).toEqual({ committed_size: 1000 });
  });

  test("a header with another resource name; the same name passes", async () => {
    const fixture = new ByteStreamFixture();
    const messages = [writeRequest(name, 0, whole, true)];
    await expectCode("invalid_argument", () => fixture.write(messages, { headers: { [HEADER]: `${name}/x` } }));
    expect(await fixture.write(messages, { headers: { [HEADER]: name } })).toEqual({ committed_size: 1000 });
  });
});

describe("the progress deadline", () => {
  const content = randomContent(random, 1000);
  const name = uploadNameOf(content);

  test("ends a Write that never sends anything", async () => {
    const fixture = new ByteStreamFixture();
    const { response } = fixture.openWrite();
    fixture.timers.advance(60_000);
    await expectCode("deadline_exceeded", () => response);
    expectNothingHeld(fixture);
  });

  test("is not put off by empty messages, and keeps what was staged", async () => {
    const fixture = new ByteStreamFixture();
    const { stream, response } = fixture.openWrite();
    stream.send(writeRequest(name, 0, content.bytes.subarray(0, 10)));
    for (let second = 0; second < 60; second++) {
      await new Promise(setImmediate);
      stream.send(writeRequest("", 10, NOTHING));
      await new Promise(setImmediate);
      fixture.timers.advance(1000);
    }
    await expectCode("deadline_exceeded", () => response);
    expect(await fixture.status(name)).toEqual({ committed_size: 10, complete: false });
  });

  test("is put off by a single byte", async () => {
    const fixture = new ByteStreamFixture({ service: { writeIdleMsMax: 10_000 } });
    const { stream, response } = fixture.openWrite();
    for (const [index, message] of writeRequests(name, content, 0, 100).entries()) {
      stream.send(message);
      await new Promise(setImmediate);
      if (index < 9) fixture.timers.advance(9999);
    }
    expect(await response).toEqual({ committed_size: 1000 });
  });
});

test("a store that fails keeps nothing and the failure comes through", async () => {
  const fixture = new ByteStreamFixture();
  const content = randomContent(random, 1000);
  const stage = fixture.blobs.stage.bind(fixture.blobs);
  fixture.blobs.stage = async (digest) => {
    const staged = await stage(digest);
    staged.write = () => Promise.reject(new CacheError("storage_full", "no space"));
    return staged;
  };
  await expectCode("storage_full", () => fixture.write(writeRequests(uploadNameOf(content), content)));
  expectNothingHeld(fixture);
});
