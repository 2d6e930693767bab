import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type AssemblyFault,
  MESSAGE_PREFIX_BYTES,
  MessageAssembler,
  type MessageSink,
} from "../../../src/grpc/transport/native-message-assembler.ts";
import { MemoryBudget } from "../../../src/cache/memory-budget.ts";
import { ManualTimers } from "../../support/manual-timers.ts";
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
  readonly resumed: (AssemblyFault | undefined)[] = [];
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

  onResumed(fault: AssemblyFault | undefined): void {
    this.resumed.push(fault);
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
  const memory = new MemoryBudget(budgetBytes, { timers: new ManualTimers() });
  return { assembler: new MessageAssembler({ messageBytesMax, memory, sink }), memory };
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
          const { assembler, memory } = assemblerFor(sink);
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
          memory.give(sink.heldBytes);
          expect(memory.take(BUDGET_BYTES)).toBe(true);
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
      onResumed: () => {},
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

  test("room is taken for what has come at first, then for what is announced, and given back when the message is given up", () => {
    const { assembler, memory } = assemblerFor(new CollectingSink(false), 200_000, 10_000_000);
    const bytes = framed(Buffer.alloc(9_000_000)).subarray(0, 100_000);
    expect(assembler.push(bytes, 0, 50_000)).toBeUndefined();
    expect(memory.take(200_000 - 64 * 1024)).toBe(true);
    expect(assembler.push(bytes, 50_000, 100_000)).toBe("budgetSpent");
    assembler.close();
    expect(memory.take(64 * 1024)).toBe(true);
  });

  test("where half of the memory is in use, a message that there is room for takes it at once and does not wait", () => {
    const { assembler, memory } = assemblerFor(new CollectingSink(false), 200_000);
    expect(memory.take(110_000)).toBe(true);
    expect(assembler.push(framed(Buffer.alloc(80_000)), 0, 1000)).toBeUndefined();
    expect(assembler.releaseView()).toBeUndefined();
    expect([assembler.isWaiting, memory.usedBytes]).toEqual([false, 190_000]);
  });

  test.each([1, 7, 50_000, 400_000])(
    "what comes while there is no memory is gone through once there is, in pieces of %i bytes",
    (pieceBytes) => {
      const sent = [90_000, 70_000, 3, 0, 80_000].map((size, index) => Buffer.alloc(size, index + 1));
      const body = Buffer.concat(sent.map((message) => framed(message)));
      const sink = new CollectingSink(false);
      const { assembler, memory } = assemblerFor(sink, 100_000);
      expect(memory.take(99_000)).toBe(true);
      for (let at = 0; at < body.length; at += pieceBytes) {
        const chunk = Buffer.from(body.subarray(at, at + pieceBytes));
        expect(assembler.push(chunk, 0, chunk.length)).toBeUndefined();
        expect(assembler.releaseView()).toBeUndefined();
        chunk.fill(0xee);
      }
      // As soon as one is given back the next has room: others took the memory for themselves meanwhile.
      const before = sink.messages.length;
      memory.give(99_000);
      for (let round = 0; round < sent.length && sink.messages.length < sent.length; round++) {
        assembler.releaseView();
        const { heldBytes } = sink;
        sink.heldBytes = 0;
        memory.give(heldBytes);
      }
      expect(before).toBe(pieceBytes === 400_000 ? sent.length : 0);
      expect(sink.messages.map((message) => message.length / 2)).toEqual(sent.map(({ length }) => length));
      expect(sink.messages.every((message, index) => message === sent[index]?.toString("hex"))).toBe(true);
      expect(sink.resumed.every((fault) => fault === undefined)).toBe(true);
      memory.give(sink.heldBytes);
      expect([assembler.pendingBytes, assembler.isWaiting, memory.usedBytes]).toEqual([0, false, 0]);
    },
  );
});
