import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { SendTurns } from "../../src/http2/send-turns.ts";

const MIB = 1024 * 1024;

test("a turn has room for some megabytes, and the next one has it again", async () => {
  const turns = new SendTurns();
  const spent = Array.from({ length: 5 }, () => turns.spend(MIB));
  expect(spent.map((waiting) => waiting === undefined)).toEqual([true, true, true, false, false]);
  await spent[3];
  await spent[4];
  expect(turns.spend(MIB)).toBeUndefined();
});

test("those that wait go on in the order in which they came, a few in each turn", async () => {
  const turns = new SendTurns();
  const resumed: number[] = [];
  const waiting = Array.from({ length: 100 }, async (_, call) => {
    await turns.spend(4 * MIB);
    resumed.push(call);
  });
  const seen: number[] = [];
  while (resumed.length < waiting.length) {
    seen.push(resumed.length);
    await setImmediate();
  }
  await Promise.all(waiting);
  expect(resumed).toEqual(resumed.toSorted((a, b) => a - b));
  // Whatever else is ready has its chance between them.
  expect(seen.length).toBeGreaterThanOrEqual(6);
});
