import { expect, test } from "vitest";
import type { CacheError } from "../../../src/cache/cache-error.ts";
import { MemoryBudget } from "../../../src/cache/memory-budget.ts";
import type { MethodDefinition } from "../../../src/grpc/transport/handler.ts";
import { Decompressor } from "../../../src/grpc/transport/native-decompressor.ts";
import { RequestQueue } from "../../../src/grpc/transport/native-request-queue.ts";
import type { Http2Stream } from "../../../src/http2/http2-stream.ts";
import { ManualTimers } from "../../support/manual-timers.ts";

const MESSAGE_BYTES = 80_000;

function framed(flag: number): Buffer {
  const bytes = Buffer.alloc(5 + MESSAGE_BYTES);
  bytes[0] = flag;
  bytes.writeUInt32BE(MESSAGE_BYTES, 1);
  return bytes;
}

test("memory that a message gives back is given back once, where that ends its call", () => {
  const memory = new MemoryBudget(2.5 * MESSAGE_BYTES, { timers: new ManualTimers() });
  const faults: CacheError[] = [];
  const stream: Pick<Http2Stream, "consume" | "awaitChunkEnd"> = { consume: () => {}, awaitChunkEnd: () => {} };
  const definition = { path: "/test", decodeRequest: (bytes: Buffer) => bytes.length };
  const queue = new RequestQueue({
    stream: stream as Http2Stream,
    definition: definition as unknown as MethodDefinition<unknown, unknown>,
    isGzip: false,
    messageBytesMax: MESSAGE_BYTES,
    memory,
    decompressor: new Decompressor(MESSAGE_BYTES),
    onFault: (error) => {
      faults.push(error);
      queue.fail(error);
    },
  });
  // Two have memory, the third waits for it, and behind it comes what is no message.
  for (const message of [framed(0), framed(0), Buffer.concat([framed(0), framed(2)])]) {
    for (const part of [message.subarray(0, 1000), message.subarray(1000)]) {
      queue.push(Buffer.from(part), 0, part.length);
      queue.endChunk();
    }
  }
  expect([memory.usedBytes, memory.waiterCount]).toEqual([2 * MESSAGE_BYTES, 1]);
  expect(queue.take()).toBe(MESSAGE_BYTES);
  expect(faults).toEqual([]);
  // The first is done with when the second is taken.
  expect(queue.take()).toBe(MESSAGE_BYTES);
  expect(faults).toEqual([expect.objectContaining({ code: "invalid_argument" })]);
  queue.close();
  expect(memory.usedBytes).toBe(0);
});
