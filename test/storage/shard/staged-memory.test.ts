import { expect, test } from "vitest";
import { StagedMemory } from "../../../src/storage/shard/staged-memory.ts";

const BYTES = 8 * 1024 * 1024;

test("memory is used again once it is forgotten, and by nobody else before", () => {
  const memory = new StagedMemory();
  const [first, second] = [memory.take(1000), memory.take(2000)];
  first.fill(1);
  second.fill(2);
  expect([first.every((byte) => byte === 1), first.length, second.length]).toEqual([true, 1000, 2000]);
  memory.forget();
  expect(memory.take(500).buffer).toBe(first.buffer);
});

test("what finds no room has memory of its own", () => {
  const memory = new StagedMemory();
  expect([memory.hasRoom(BYTES), memory.hasRoom(BYTES + 1)]).toEqual([true, false]);
  const all = memory.take(BYTES);
  const other = memory.take(10_000);
  expect(other.buffer).not.toBe(all.buffer);
  expect(memory.hasRoom(1)).toBe(false);
});
