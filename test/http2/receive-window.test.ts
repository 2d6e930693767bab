import { expect, test } from "vitest";
import { ByteBudget } from "../../src/http2/byte-budget.ts";
import { ReceiveWindow } from "../../src/http2/receive-window.ts";

test("a window that is closed gives back what it has grown by, and takes nothing again when more is consumed", () => {
  const budget = new ByteBudget(1000);
  const window = new ReceiveWindow(100, 1000, budget);
  for (let round = 0; round < 10; round++) {
    window.receive(window.size / 2);
    window.consume(window.size / 2);
  }
  expect(window.size).toBe(1000);
  window.receive(500);
  window.close();
  window.consume(500);
  expect(window.size).toBe(100);
  expect(budget.take(1000)).toBe(true);
});

test("what the settings give beyond the largest size is not announced again", () => {
  const window = new ReceiveWindow(400, 500);
  window.widen(300);
  expect(window.receive(700)).toBe(true);
  // 200 too much are out: they are taken off what is announced, and then all is as ever.
  expect(window.consume(350)).toBe(150);
  expect(window.size).toBe(500);
  expect(window.consume(350)).toBe(350);
  expect(window.receive(500)).toBe(true);
  expect(window.receive(1)).toBe(false);
});
