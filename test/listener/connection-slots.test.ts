import { expect, test } from "vitest";
import { ConnectionSlots } from "../../src/listener/connection-slots.ts";

function open(countMax: number): ConnectionSlots[] {
  const main = new ConnectionSlots(countMax, 0, 3);
  return [main, new ConnectionSlots(countMax, 1, 3, main.buffer), new ConnectionSlots(countMax, 2, 3, main.buffer)];
}

test("all listeners together have no more connections than the bound", () => {
  const [main, second, third] = open(3) as [ConnectionSlots, ConnectionSlots, ConnectionSlots];
  expect([main, second, third, main, second].map((slots) => slots.tryTake())).toEqual([true, true, true, false, false]);
  second.give();
  expect([third, main].map((slots) => slots.tryTake())).toEqual([true, false]);
});

test("the places of a listener that ended are free, and only those", () => {
  const [main, second] = open(3) as [ConnectionSlots, ConnectionSlots];
  main.tryTake();
  second.tryTake();
  second.tryTake();
  main.giveAllOf(1);
  expect([main, main, main].map((slots) => slots.tryTake())).toEqual([true, true, false]);
  main.giveAllOf(1);
  expect(main.tryTake()).toBe(false);
});
