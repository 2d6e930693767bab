import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  MESSAGE_PREFIX_BYTES,
  MessageAssembler,
  type MessageSink,
} from "../../../src/grpc/transport/native-message-assembler.ts";
import { ByteBudget } from "../../../src/http2/byte-budget.ts";
import { FRAME_HEADER_BYTES } from "../../../src/http2/frame-format.ts";

const BUDGET_BYTES = 1024 * 1024;

function framed(message: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(MESSAGE_PREFIX_BYTES);
  prefix[0] = flag;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Collects messages; those in parts joined, where it takes parts. */
class CollectingSink implements MessageSink {
  readonly messages: string[] = [];
  heldBytes = 0;
  readonly #takesParts: boolean;
  #parts: Buffer[] = [];

  constructor(takesParts: boolean) {
    this.#takesParts = takesParts;
  }

  onMessage(message: Buffer, isCompressed: boolean, heldBytes: number): void {
    this.messages.push(`${isCompressed ? "z" : ""}${message.toString("hex")}`);
    this.heldBytes += heldBytes;
  }

  onFirstPart(bytes: Buffer): boolean {
    if (this.#takesParts) this.#parts = [Buffer.from(bytes)];
    return this.#takesParts;
  }

  onPart(bytes: Buffer, isLast: boolean): void {
    this.#parts.push(Buffer.from(bytes));
    if (isLast) this.messages.push(Buffer.concat(this.#parts).toString("hex"));
  }
}

function assemblerFor(sink: MessageSink, budgetBytes = BUDGET_BYTES, messageBytesMax = 100_000) {
  const gatherBudget = new ByteBudget(budgetBytes);
  return { assembler: new MessageAssembler({ messageBytesMax, gatherBudget, sink }), gatherBudget };
}

/**
 * Lays a body out as received: frames of these lengths, in chunks of so many frames each, every frame behind a header,
 * now and then with another frame in between.
 */
function received(body: Buffer, frameBytes: readonly number[], framesPerChunk: number) {
  const chunks: { chunk: Buffer; ranges: [start: number, end: number][] }[] = [];
  let at = 0;
  for (let frame = 0; at < body.length;) {
    const ranges: [number, number][] = [];
    const pieces: Buffer[] = [];
    let offset = 0;
    for (let count = 0; count < framesPerChunk && at < body.length; count++, frame++) {
      const data = body.subarray(at, at + (frameBytes[frame % frameBytes.length] ?? 1));
      const gap = frame % 5 === 4 ? 2 * FRAME_HEADER_BYTES : FRAME_HEADER_BYTES;
      pieces.push(Buffer.alloc(gap, 0xaa), data);
      ranges.push([offset + gap, offset + gap + data.length]);
      offset += gap + data.length;
      at += data.length;
    }
    chunks.push({ chunk: Buffer.concat(pieces), ranges });
  }
  return chunks;
}

const messages = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 12 });

describe("MessageAssembler", () => {
  test.each([
    ["whole", false],
    ["in parts", true],
  ])("messages taken %s come out as they were, however they are cut into frames and chunks", (_how, takesParts) => {
    fc.assert(
      fc.property(
        messages,
        fc.array(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 6 }),
        (sent, frameBytes, framesPerChunk) => {
          const sink = new CollectingSink(takesParts);
          const { assembler, gatherBudget } = assemblerFor(sink);
          for (const { chunk, ranges } of received(
            Buffer.concat(sent.map((message) => framed(message))),
            frameBytes,
            framesPerChunk,
          )) {
            for (const [start, end] of ranges) expect(assembler.push(chunk, start, end)).toBeUndefined();
            expect(assembler.releaseView()).toBeUndefined();
            // The chunk is not ours any longer.
            chunk.fill(0xee);
          }
          expect(sink.messages).toEqual(sent.map((message) => Buffer.from(message).toString("hex")));
          expect(assembler.pendingBytes).toBe(0);
          gatherBudget.give(sink.heldBytes);
          expect(gatherBudget.take(BUDGET_BYTES)).toBe(true);
        },
      ),
    );
  });

  test.each([1, 4, 5, 6, 5000, 16_384])(
    "messages longer than are stitched come out as they were in frames of %i",
    (bytes) => {
      const sent = [80_000, 1, 70_000, 0, 65_537].map((size, index) => Buffer.alloc(size, index + 1));
      const sink = new CollectingSink(false);
      const { assembler } = assemblerFor(sink);
      // The first frame ends with the first prefix.
      const body = Buffer.concat(sent.map((message) => framed(message)));
      for (const part of [body.subarray(0, 5), body.subarray(5)]) {
        for (const { chunk, ranges } of received(part, [bytes], 4)) {
          for (const [start, end] of ranges) expect(assembler.push(chunk, start, end)).toBeUndefined();
          expect(assembler.releaseView()).toBeUndefined();
          chunk.fill(0xee);
        }
      }
      expect(sink.messages.map(({ length }) => length / 2)).toEqual(sent.map(({ length }) => length));
      expect(sink.messages.every((message, index) => message === sent[index]?.toString("hex"))).toBe(true);
    },
  );

  test("a message that goes on behind the next frame's header stays a view of its chunk", () => {
    const views: Buffer[] = [];
    const { assembler } = assemblerFor({
      onMessage: (message) => views.push(message),
      onFirstPart: () => false,
      onPart: () => {},
    });
    const body = Buffer.concat([framed(Buffer.alloc(1000, "a")), framed(Buffer.alloc(1000, "b"))]);
    for (const { chunk, ranges } of received(body, [800], 3)) {
      for (const [start, end] of ranges) assembler.push(chunk, start, end);
      expect(views.every((view) => view.buffer === chunk.buffer)).toBe(true);
    }
    expect(views.map(String)).toEqual(["a".repeat(1000), "b".repeat(1000)]);
  });

  test("a message over the limit is judged by its prefix", () => {
    const { assembler } = assemblerFor(new CollectingSink(false));
    const prefix = Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]);
    expect(assembler.push(prefix, 0, 4)).toBeUndefined();
    expect(assembler.push(prefix, 4, 5)).toBe("tooLarge");
    expect(assembler.messageBytes).toBe(0x7fff_ffff);
  });

  test("a compressed flag is passed on, any other is a fault", () => {
    const sink = new CollectingSink(false);
    const bytes = framed(Buffer.from("x"), 1);
    expect(assemblerFor(sink).assembler.push(bytes, 0, bytes.length)).toBeUndefined();
    expect(sink.messages).toEqual(["z78"]);
    const odd = framed(Buffer.from("x"), 2);
    expect(assemblerFor(sink).assembler.push(odd, 0, odd.length)).toBe("badFlag");
  });

  test("room is taken for what has come, not for what is announced, and given back when the message is given up", () => {
    const { assembler, gatherBudget } = assemblerFor(new CollectingSink(false), 200_000, 10_000_000);
    const bytes = framed(Buffer.alloc(9_000_000)).subarray(0, 100_000);
    expect(assembler.push(bytes, 0, 50_000)).toBeUndefined();
    expect(gatherBudget.take(200_000 - 64 * 1024)).toBe(true);
    expect(assembler.push(bytes, 50_000, 100_000)).toBe("budgetSpent");
    assembler.close();
    expect(gatherBudget.take(64 * 1024)).toBe(true);
  });
});
