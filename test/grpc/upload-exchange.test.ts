import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { UploadExchange } from "../../src/grpc/upload-exchange.ts";
import { exchangePeers } from "../../src/listener/exchange-peers.ts";
import { KeptUploads } from "../../src/listener/kept-uploads.ts";
import { expectCode, expectSameBytes } from "../contract/entry-store-contract.ts";
import { ByteStreamFixture, uploadNameOf, writeRequest, writeRequests } from "../support/byte-stream-fixture.ts";
import { randomContent } from "../support/cas-content.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const random = seededRandom(testSeed("upload exchange"));
const SIZE = 100_000;
const content = randomContent(random, SIZE);
const name = uploadNameOf(content);
const LISTENERS = 3;
const settle = () => new Promise(setImmediate);

let exchange: UploadExchange;
let first: ByteStreamFixture;
let second: ByteStreamFixture;
let third: ByteStreamFixture;

/** The services of three listeners over one store; their uploads meet in the exchange only. */
function openListeners(entries: { stagingBytesMax?: number } = {}): void {
  exchange = new UploadExchange();
  const { buffer } = new KeptUploads(0, LISTENERS);
  const fixtures: ByteStreamFixture[] = [];
  for (let index = 0; index < LISTENERS; index++) {
    const access = {
      committedBytes: (asked: string) => exchange.committedBytes(asked),
      take: (asked: string, moreThanBytes: number, signal: AbortSignal) =>
        exchange.take(index, asked, moreThanBytes, signal),
      arrived: (asked: string) => exchange.arrived(index, asked),
      forget: (asked: string) => exchange.forget(index, asked),
      dropKept: () => exchange.dropKept(index),
    };
    const peers = exchangePeers(access, new KeptUploads(index, LISTENERS, buffer));
    const blobs = fixtures[0]?.blobs;
    const service = blobs === undefined ? {} : { blobs };
    const fixture = new ByteStreamFixture({ service, uploads: { peers }, entries });
    const { uploads } = fixture;
    exchange.join(index, {
      committedBytes: (asked) => uploads.bytesHere(asked),
      surrender: (asked) => uploads.surrender(asked),
      forget: (asked) => uploads.forget(asked),
      dropKept: () => uploads.dropKept(),
    });
    fixtures.push(fixture);
  }
  [first, second, third] = fixtures as [ByteStreamFixture, ByteStreamFixture, ByteStreamFixture];
}

beforeEach(() => openListeners());
afterEach(async () => {
  for (const { uploads } of [first, second, third]) await uploads.dropKept();
  expectNothingStaged();
});

function expectNothingStaged(): void {
  expect([first.entries.openStaged, first.entries.stagedBytes]).toEqual([0, 0]);
}

const statuses = () =>
  Promise.all([first, second, third].map(async (fixture) => (await fixture.status(name)).committed_size));

describe("an upload that was interrupted at one listener", () => {
  test("is told of by every listener", async () => {
    await first.interruptAfter(name, content, 40_000);
    expect(await statuses()).toEqual([40_000, 40_000, 40_000]);
  });

  test("goes on at another, from where it stopped or before", async () => {
    await first.interruptAfter(name, content, 40_000);
    expect(await second.write(writeRequests(name, content, 30_000))).toEqual({ committed_size: SIZE });
    expectSameBytes(await first.stored(content), content.bytes);
    expect(await statuses()).toEqual([SIZE, SIZE, SIZE]);
  });

  test("goes on at a third where it was interrupted again at the second", async () => {
    await first.interruptAfter(name, content, 40_000);
    const more = [writeRequest(name, 40_000, content.bytes.subarray(40_000, 70_000))];
    await expectCode("invalid_argument", () => second.write(more));
    expect(await statuses()).toEqual([70_000, 70_000, 70_000]);
    expect(first.uploads.bytesHere(name)).toBe(0);
    expect(await third.write(writeRequests(name, content, 70_000))).toEqual({ committed_size: SIZE });
    expectSameBytes(await first.stored(content), content.bytes);
  });

  test("is not lost by a stream that claims to go on past it", async () => {
    await first.interruptAfter(name, content, 40_000);
    await expectCode("invalid_argument", () => second.write(writeRequests(name, content, 40_001)));
    expect(await statuses()).toEqual([40_000, 40_000, 40_000]);
  });

  test("is never counted for less while it moves", async () => {
    await first.interruptAfter(name, content, 40_000);
    let last = 0;
    let moves = 0;
    const moving = (async () => {
      for (let offset = 40_000; offset < SIZE; offset += 10_000, moves++) {
        const fixture = [second, third, first][moves % LISTENERS] ?? first;
        const isLast = offset + 10_000 === SIZE;
        const part = content.bytes.subarray(offset, offset + 10_000);
        await fixture.write([writeRequest(name, offset, part, isLast)]).catch(() => undefined);
      }
    })();
    let isDone = false;
    void moving.then(() => (isDone = true));
    while (!isDone) {
      for (const committed of await statuses()) {
        expect(committed).toBeGreaterThanOrEqual(last);
        last = committed;
      }
    }
    expect(moves).toBe(6);
    expectSameBytes(await first.stored(content), content.bytes);
  });

  test("stays until a stream that starts again from 0 elsewhere has completed, and is dropped then", async () => {
    await first.interruptAfter(name, content, 40_000);
    const { stream, response } = second.openWrite();
    const messages = writeRequests(name, content);
    stream.send(...messages.slice(0, 1));
    await settle();
    expect(await statuses()).toEqual([40_000, 40_000, 40_000]);
    stream.send(...messages.slice(1));
    expect(await response).toEqual({ committed_size: SIZE });
    await settle();
    expect(first.uploads.bytesHere(name)).toBe(0);
    expect(first.entries.openStaged).toBe(0);
  });

  test("is dropped where another listener has no room to stage", async () => {
    openListeners({ stagingBytesMax: 40_000 });
    await first.interruptAfter(name, content, 40_000);
    const small = randomContent(random, 30_000);
    expect(await second.write(writeRequests(uploadNameOf(small), small))).toEqual({ committed_size: 30_000 });
    expect(await statuses()).toEqual([0, 0, 0]);
  });

  test("is gone with its listener, and keeps nobody waiting", async () => {
    await first.interruptAfter(name, content, 40_000);
    exchange.leave(0);
    expect((await second.status(name)).committed_size).toBe(0);
    await expectCode("invalid_argument", () => second.write(writeRequests(name, content, 40_000)));
  });
});

describe("a stream that goes on at one listener with what another still receives", () => {
  test("interrupts the other, which is told so", async () => {
    const live = first.openWrite();
    live.stream.send(writeRequest(name, 0, content.bytes.subarray(0, 40_000)));
    await settle();
    expect(await second.write(writeRequests(name, content, 40_000))).toEqual({ committed_size: SIZE });
    await expectCode("unavailable", () => live.response);
    expectSameBytes(await first.stored(content), content.bytes);
  });

  test("finds the blob present where the other was committing", async () => {
    const release = first.entries.holdCommits();
    const committing = first.write(writeRequests(name, content));
    await settle();
    const resuming = second.write(writeRequests(name, content, SIZE));
    await settle();
    release();
    expect(await committing).toEqual({ committed_size: SIZE });
    expect(await resuming).toEqual({ committed_size: SIZE });
    expectSameBytes(await first.stored(content), content.bytes);
  });

  test("and two that want it at once do not wait for each other: one has it, the other is told", async () => {
    await first.interruptAfter(name, content, 40_000);
    const own = [second, third].map((fixture) => fixture.interruptAfter(name, content, 10_000));
    await Promise.all(own);
    const outcomes = await Promise.allSettled(
      [second, third].map((fixture) => fixture.write(writeRequests(name, content, 40_000))),
    );
    expect(outcomes.filter(({ status }) => status === "fulfilled").length).toBeGreaterThan(0);
    expectSameBytes(await first.stored(content), content.bytes);
  });

  test("many listeners and clients that break off and go on anywhere end with the whole blob", async () => {
    const fixtures = [first, second, third];
    let offset = 0;
    while (!first.blobs.peek(content.digest)) {
      const attempts = Array.from({ length: random.int(1, 3) }, () => {
        const from = random.int(0, offset);
        const end = Math.min(SIZE, from + random.int(1, 30_000));
        const message = writeRequest(name, from, content.bytes.subarray(from, end), end === SIZE);
        return random.pick(fixtures).write([message]);
      });
      await Promise.allSettled(attempts);
      const told = await statuses();
      expect(Math.min(...told)).toBeGreaterThanOrEqual(offset);
      offset = Math.min(...told);
    }
    expectSameBytes(await first.stored(content), content.bytes);
  });
});
