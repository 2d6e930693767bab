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
