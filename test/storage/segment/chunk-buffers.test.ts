import { describe, expect, test } from "vitest";
import { ChunkBuffers } from "../../../src/storage/segment/chunk-buffers.ts";

const CHUNK_BYTES = 256 * 1024;

describe("ChunkBuffers", () => {
  test("lend the same memory again once it is given back, and to nobody else before", () => {
    const buffers = new ChunkBuffers();
    const [first, second] = [buffers.take(CHUNK_BYTES), buffers.take(200_000)];
    expect(second.bytes.buffer).not.toBe(first.bytes.buffer);
    expect(second.bytes.length).toBe(200_000);
    first.giveBack();
    const third = buffers.take(150_000);
    expect(third.bytes.buffer).toBe(first.bytes.buffer);
  });

  test.each([4096, 5000, 16_384, 16_385, 131_072])("lend less than twice the %i bytes that are asked for", (bytes) => {
    const buffers = new ChunkBuffers();
    buffers.take(CHUNK_BYTES).giveBack();
    const lent = buffers.take(bytes);
    expect(lent.bytes.length).toBe(bytes);
    expect(lent.bytes.buffer.byteLength).toBeLessThan(2 * bytes);
    lent.giveBack();
    expect(buffers.take(bytes).bytes.buffer).toBe(lent.bytes.buffer);
  });

  test("take memory back once: twice it would be lent to two", () => {
    const buffers = new ChunkBuffers();
    const lent = buffers.take(CHUNK_BYTES);
    lent.giveBack();
    lent.giveBack();
    const again = buffers.take(CHUNK_BYTES);
    lent.giveBack();
    expect(buffers.take(CHUNK_BYTES).bytes.buffer).not.toBe(again.bytes.buffer);
  });

  test("give small pieces memory of their own, and free what is more than they keep", () => {
    const buffers = new ChunkBuffers();
    const small = buffers.take(1000);
    small.giveBack();
    expect(buffers.take(CHUNK_BYTES).bytes.buffer).not.toBe(small.bytes.buffer);
    const many = Array.from({ length: 100 }, () => buffers.take(CHUNK_BYTES));
    for (const lent of many) lent.giveBack();
    expect(many.filter((lent) => lent.bytes.buffer.byteLength === 0)).toHaveLength(100 - 32);
    const known = new Set(many.map((lent) => lent.bytes.buffer));
    const again = Array.from({ length: 100 }, () => buffers.take(CHUNK_BYTES));
    expect(again.filter((lent) => known.has(lent.bytes.buffer))).toHaveLength(32);
  });

  test("keep no more in all than they are told to", () => {
    const buffers = new ChunkBuffers(3 * CHUNK_BYTES);
    const many = Array.from({ length: 10 }, () => buffers.take(CHUNK_BYTES));
    for (const lent of many) lent.giveBack();
    const known = new Set(many.map((lent) => lent.bytes.buffer));
    const again = Array.from({ length: 10 }, () => buffers.take(CHUNK_BYTES));
    expect(again.filter((lent) => known.has(lent.bytes.buffer))).toHaveLength(3);
    for (const lent of again) lent.giveBack();
    expect(buffers.take(CHUNK_BYTES).bytes.buffer.byteLength).toBe(CHUNK_BYTES);
    const small = buffers.take(CHUNK_BYTES / 2);
    small.giveBack();
    expect(buffers.take(CHUNK_BYTES / 2).bytes.buffer).toBe(small.bytes.buffer);
  });
});
