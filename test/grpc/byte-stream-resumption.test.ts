import { describe, expect, test } from "vitest";
import { expectCode, expectSameBytes } from "../contract/entry-store-contract.ts";
import { ByteStreamFixture, uploadNameOf, writeRequest, writeRequests } from "../support/byte-stream-fixture.ts";
import { contentOf, randomContent } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const random = seededRandom(testSeed("resumption of ByteStream.Write"));
const SIZE = 100_000;
const content = randomContent(random, SIZE);
const name = uploadNameOf(content);
const settle = () => new Promise(setImmediate);

function expectNothingHeld({ entries, timers }: ByteStreamFixture): void {
  expect(entries.openStaged).toBe(0);
  expect(entries.stagedBytes).toBe(0);
  expect(timers.running).toBe(0);
}

describe("QueryWriteStatus", () => {
  test("of a name that is unknown is {0, false}", async () => {
    expect(await new ByteStreamFixture().status(name)).toEqual({ committed_size: 0, complete: false });
  });

  test("of a blob that is present is {size, true}, under any upload id, and renews its lease", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.blobs.put(content.digest, content.bytes);
    expect(await fixture.status(uploadNameOf(content, "other"))).toEqual({ committed_size: SIZE, complete: true });
    expect(fixture.entries.renewed).toHaveLength(1);
  });

  test("of the empty blob is {0, true}", async () => {
    const empty = contentOf(Buffer.alloc(0));
    expect(await new ByteStreamFixture().status(uploadNameOf(empty))).toEqual({ committed_size: 0, complete: true });
  });

  test("of a live upload is what has come in so far and never goes back", async () => {
    const fixture = new ByteStreamFixture();
    const { stream, response } = fixture.openWrite();
    let last = 0;
    for (const message of writeRequests(name, content)) {
      stream.send(message);
      await settle();
      const { committed_size } = await fixture.status(name);
      expect(committed_size).toBe(message.write_offset + message.data.length);
      expect(committed_size).toBeGreaterThanOrEqual(last);
      last = committed_size;
    }
    await response;
    expect(await fixture.status(name)).toEqual({ committed_size: SIZE, complete: true });
  });

  test("does not tell names apart by what follows the size", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(`${name}/out/a.o`, content, 500);
    expect(await fixture.status(`${name}/out/b.o`)).toEqual({ committed_size: 500, complete: false });
  });

  test.each(["", "blobs/x/1", `${name.slice(0, -1)}x`])("of the malformed name %j is refused", async (malformed) => {
    await expectCode("invalid_argument", () => new ByteStreamFixture().status(malformed));
  });
});

describe("an interrupted upload is kept", () => {
  test("after a half-close without finish_write", async () => {
    const fixture = new ByteStreamFixture();
    const half = [writeRequest(name, 0, content.bytes.subarray(0, 500))];
    await expectCode("invalid_argument", () => fixture.write(half));
    expect(await fixture.status(name)).toEqual({ committed_size: 500, complete: false });
    expect(fixture.blobs.peek(content.digest)).toBe(false);
  });

  test("after the client has vanished", async () => {
    const fixture = new ByteStreamFixture();
    const { stream, abort, response } = fixture.openWrite();
    stream.send(writeRequest(name, 0, content.bytes.subarray(0, 500)));
    await settle();
    abort.abort();
    await expectCode("cancelled", () => response);
    expect(await fixture.status(name)).toEqual({ committed_size: 500, complete: false });
  });

  test("after the stream has broken", async () => {
    const fixture = new ByteStreamFixture();
    const { stream, response } = fixture.openWrite();
    stream.send(writeRequest(name, 0, content.bytes.subarray(0, 500)));
    stream.fail(new Error("connection reset"));
    await expect(response).rejects.toThrow("connection reset");
    expect(await fixture.status(name)).toEqual({ committed_size: 500, complete: false });
  });

  test("after a message that contradicts the stream", async () => {
    const fixture = new ByteStreamFixture();
    const gap = [writeRequest(name, 0, content.bytes.subarray(0, 500)), writeRequest("", 501, content.bytes)];
    await expectCode("invalid_argument", () => fixture.write(gap));
    expect(await fixture.status(name)).toEqual({ committed_size: 500, complete: false });
  });

  test("unless not a byte had come in", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(name, content, 0);
    expectNothingHeld(fixture);
  });

  test("for its time and no longer", async () => {
    const fixture = new ByteStreamFixture({ uploads: { keptMsMax: 5000 } });
    await fixture.interruptAfter(name, content, 500);
    fixture.timers.advance(4999);
    expect(await fixture.status(name)).toEqual({ committed_size: 500, complete: false });
    fixture.timers.advance(1);
    expect(await fixture.status(name)).toEqual({ committed_size: 0, complete: false });
    expectNothingHeld(fixture);
  });
});

describe("a later stream", () => {
  test.each([1, 499, 500])("resumes at offset %i of 500 committed bytes", async (offset) => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(name, content, 500);
    expect(await fixture.write(writeRequests(name, content, offset, 100))).toEqual({ committed_size: SIZE });
    expectSameBytes(await fixture.stored(content), content.bytes);
    expect(fixture.entries.stagedEver).toBe(1);
    expectNothingHeld(fixture);
  });

  test("resumes with nothing but finish_write when every byte had come in", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(name, content, SIZE);
    const finish = [writeRequest(name, SIZE, Buffer.alloc(0), true)];
    expect(await fixture.write(finish)).toEqual({ committed_size: SIZE });
    expectSameBytes(await fixture.stored(content), content.bytes);
  });

  test("may not start past what is committed, and that keeps what there is", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(name, content, 500);
    await expectCode("invalid_argument", () => fixture.write(writeRequests(name, content, 501)));
    expect(await fixture.status(name)).toEqual({ committed_size: 500, complete: false });
  });

  test("that finishes inside of the repeated part is too short, and nothing is kept", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(name, content, 500);
    const short = [writeRequest(name, 100, content.bytes.subarray(100, 200), true)];
    await expectCode("invalid_argument", () => fixture.write(short));
    expect(await fixture.status(name)).toEqual({ committed_size: 0, complete: false });
    expectNothingHeld(fixture);
  });

  test("that starts again from 0 succeeds even where the earlier bytes were wrong", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(name, { ...content, bytes: random.bytes(SIZE) }, 60_000);
    expect(await fixture.write(writeRequests(name, content))).toEqual({ committed_size: SIZE });
    expectSameBytes(await fixture.stored(content), content.bytes);
    expectNothingHeld(fixture);
  });

  test("that starts again from 0 and breaks off sooner does not take back the committed size", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(name, content, 500);
    await fixture.interruptAfter(name, content, 200);
    expect(await fixture.status(name)).toEqual({ committed_size: 500, complete: false });
    await fixture.interruptAfter(name, content, 700);
    expect(await fixture.status(name)).toEqual({ committed_size: 700, complete: false });
    expect(fixture.entries.openStaged).toBe(1);
    expect(await fixture.write(writeRequests(name, content, 700))).toEqual({ committed_size: SIZE });
    expectNothingHeld(fixture);
  });

  test("after wrong bytes were refused starts from 0", async () => {
    const fixture = new ByteStreamFixture();
    await fixture.interruptAfter(name, { ...content, bytes: random.bytes(SIZE) }, 500);
    await expectCode("invalid_argument", () => fixture.write(writeRequests(name, content, 500)));
    expect(await fixture.status(name)).toEqual({ committed_size: 0, complete: false });
    expect(await fixture.write(writeRequests(name, content))).toEqual({ committed_size: SIZE });
  });

  test("gets room in a full staging from uploads that nobody writes", async () => {
    const fixture = new ByteStreamFixture({ entries: { stagingBytesMax: SIZE } });
    const other = randomContent(random, SIZE);
    await fixture.interruptAfter(uploadNameOf(other), other, SIZE);
    expect(await fixture.write(writeRequests(name, content))).toEqual({ committed_size: SIZE });
    expect(await fixture.status(uploadNameOf(other))).toEqual({ committed_size: 0, complete: false });
    expectNothingHeld(fixture);
  });
});

describe("two live streams under one name", () => {
  test("I5: the later takes over: the earlier fails as unavailable, the later goes on where it was", async () => {
    const fixture = new ByteStreamFixture();
    const earlier = fixture.openWrite();
    earlier.stream.send(writeRequest(name, 0, content.bytes.subarray(0, 500)));
    await settle();
    const later = fixture.openWrite();
    later.stream.send(...writeRequests(name, content, 400));
    await expectCode("unavailable", () => earlier.response);
    expect(await later.response).toEqual({ committed_size: SIZE });
    expectSameBytes(await fixture.stored(content), content.bytes);
    expectNothingHeld(fixture);
  });

  test("the later may start from 0", async () => {
    const fixture = new ByteStreamFixture();
    const earlier = fixture.openWrite();
    earlier.stream.send(writeRequest(name, 0, random.bytes(500)));
    await settle();
    expect(await fixture.write(writeRequests(name, content))).toEqual({ committed_size: SIZE });
    await expectCode("unavailable", () => earlier.response);
    expectNothingHeld(fixture);
  });

  test("a take-over during the commit waits for it and finds the blob present", async () => {
    const fixture = new ByteStreamFixture();
    const release = fixture.entries.holdCommits();
    const earlier = fixture.write(writeRequests(name, content));
    await settle();
    const later = fixture.openWrite();
    later.stream.send(writeRequest(name, 0, content.bytes.subarray(0, 1)));
    await settle();
    release();
    expect(await Promise.all([earlier, later.response])).toEqual([{ committed_size: SIZE }, { committed_size: SIZE }]);
    expect(fixture.entries.stagedEver).toBe(1);
    expectNothingHeld(fixture);
  });

  test("of many at once one succeeds, the others fail as unavailable or find the blob", async () => {
    const fixture = new ByteStreamFixture();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, () => fixture.write(writeRequests(name, content, 0, 1000))),
    );
    const isExpected = outcomes.map((outcome) =>
      outcome.status === "fulfilled" ? outcome.value.committed_size === SIZE : outcome.reason.code === "unavailable",
    );
    expect(isExpected).not.toContain(false);
    expect(outcomes.some(({ status }) => status === "fulfilled")).toBe(true);
    expectSameBytes(await fixture.stored(content), content.bytes);
    expectNothingHeld(fixture);
  });

  test("a stream that vanishes while it waits for its turn takes nothing", async () => {
    const fixture = new ByteStreamFixture();
    const release = fixture.entries.holdCommits();
    const earlier = fixture.write(writeRequests(name, { ...content, bytes: content.bytes }));
    await settle();
    const later = fixture.openWrite();
    later.stream.send(writeRequest(name, 0, content.bytes));
    await settle();
    later.abort.abort();
    release();
    await earlier;
    await expectCode("cancelled", () => later.response);
    expectNothingHeld(fixture);
  });
});

test("random interruptions and resumptions of one upload end with the right bytes, the size never going back", async () => {
  for (let round = 0; round < 30; round++) {
    const fixture = new ByteStreamFixture();
    let committed = 0;
    for (let attempt = 0; attempt < 12; attempt++) {
      const offset = random.int(0, committed);
      const { stream, abort, response } = fixture.openWrite();
      const messages = writeRequests(name, content, offset, random.int(1000, 20_000));
      stream.send(...messages.slice(0, random.int(0, messages.length - 1)));
      await settle();
      if (random.int(0, 1) === 0) abort.abort();
      else stream.end();
      await response.catch(() => undefined);
      const status = await fixture.status(name);
      expect(status.complete).toBe(false);
      expect(status.committed_size).toBeGreaterThanOrEqual(committed);
      committed = status.committed_size;
    }
    expect(await fixture.write(writeRequests(name, content, random.int(0, committed)))).toEqual({
      committed_size: SIZE,
    });
    expectSameBytes(await fixture.stored(content), content.bytes);
    expectNothingHeld(fixture);
  }
});
