import { expect, test } from "vitest";
import { MemoryBudget } from "../../src/cache/memory-budget.ts";
import { ManualTimers } from "../support/manual-timers.ts";

const WAIT_MS = 5000;

function open(bytesMax: number, waitersMax?: number) {
  const timers = new ManualTimers();
  const budget = new MemoryBudget(bytesMax, {
    timers,
    waitMs: WAIT_MS,
    ...(waitersMax === undefined ? {} : { waitersMax }),
  });
  const settled: string[] = [];
  const wait = (name: string, bytes: number, heldBytes = 0): (() => void) | undefined =>
    budget.wait(bytes, heldBytes, (isGranted) => {
      settled.push(`${name} ${isGranted}`);
      if (!isGranted && heldBytes > 0) budget.give(heldBytes);
    });
  return { budget, timers, settled, wait };
}

test("who finds too little gets it in order, and nobody slips in between", () => {
  const { budget, settled, wait } = open(100);
  expect([budget.take(60), budget.take(41), budget.take(40)]).toEqual([true, false, true]);
  wait("first", 50);
  wait("second", 10);
  budget.give(40);
  expect([settled, budget.take(1)]).toEqual([[], false]);
  budget.give(20);
  expect(settled).toEqual(["first true", "second true"]);
  expect([budget.usedBytes, budget.waiterCount]).toEqual([100, 0]);
});

test("half of the budget is for those who take all that they need", () => {
  const { budget } = open(100);
  expect([budget.takePart(50), budget.takePart(1), budget.take(50)]).toEqual([true, false, true]);
});

test("who has waited for the stated time is refused, and those behind go on", () => {
  const { budget, timers, settled, wait } = open(100);
  budget.take(80);
  wait("large", 90);
  timers.advance(WAIT_MS - 1);
  wait("small", 20);
  expect(settled).toEqual([]);
  timers.advance(1);
  expect(settled).toEqual(["large false", "small true"]);
  expect(timers.running).toBe(0);
});

test("who leaves the queue is not told, and takes nothing", () => {
  const { budget, timers, settled, wait } = open(100);
  budget.take(100);
  const leave = wait("gone", 100);
  wait("here", 100);
  leave?.();
  budget.give(100);
  expect([settled, budget.usedBytes, timers.running]).toEqual([["here true"], 100, 0]);
});

test("where all is held by those who wait, the last of them is refused until the first goes on", () => {
  const { budget, settled, wait } = open(100);
  for (const bytes of [30, 30, 30, 10]) budget.take(bytes);
  wait("a", 50, 30);
  wait("b", 50, 30);
  wait("c", 50, 30);
  expect(settled).toEqual([]);
  // The only one at work ends, which is not enough for any.
  budget.give(10);
  expect(settled).toEqual(["c false", "b false", "a true"]);
  expect([budget.usedBytes, budget.waiterCount]).toEqual([80, 0]);
});

test("who would leave nobody at work is refused at once, and so is what never fits, and one too many", () => {
  const { budget, wait } = open(100, 1);
  budget.take(100);
  expect(wait("itself", 10, 100)).toBeUndefined();
  expect(wait("too large", 101)).toBeUndefined();
  expect(wait("fits", 100)).toBeDefined();
  expect(wait("one too many", 1)).toBeUndefined();
});

test("taking in time makes a promise only where it has to wait, and says why it is refused", async () => {
  const { budget, timers } = open(100);
  expect(budget.takeInTime(100)).toBeUndefined();
  const waiting = budget.takeInTime(10);
  const late = budget.takeInTime(95);
  budget.give(50);
  await waiting;
  expect(budget.usedBytes).toBe(60);
  timers.advance(WAIT_MS);
  await expect(late).rejects.toMatchObject({ code: "resource_exhausted", shedBy: "memory", retryAfterMs: 1000 });
  expect(() => budget.takeInTime(101)).toThrow("too many large requests at once");
});
