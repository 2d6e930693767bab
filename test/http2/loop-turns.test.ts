import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { LoopTurns, requestTurns, sendTurns } from "../../src/http2/loop-turns.ts";

const MIB = 1024 * 1024;
/** Of turns that take no time. */
const atOnce = (): number => 0;

test("a turn has room for some megabytes, and the next one has it again", async () => {
  const turns = sendTurns({ now: atOnce });
  const waiting = Array.from({ length: 5 }, () => {
    turns.spend(MIB);
    return turns.next();
  });
  expect(waiting.map((each) => each === undefined)).toEqual([true, true, true, false, false]);
  for (const each of waiting) await each;
  expect(turns.next()).toBeUndefined();
});

test("those that wait go on in the order in which they came, a few in each turn", async () => {
  const turns = sendTurns({ now: atOnce });
  const resumed: number[] = [];
  const waiting = Array.from({ length: 100 }, async (_, call) => {
    turns.spend(4 * MIB);
    await turns.next();
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

test("who has more to do than a turn has room for goes on behind those that had nothing of it", async () => {
  const turns = new LoopTurns({ max: 2, min: 1, share: 1 }, { now: atOnce });
  const done: string[] = [];
  const left = new Map([
    ["large", 5],
    ["small", 1],
  ]);
  const work = (name: string): void => {
    while (left.get(name)! > 0 && !turns.isOver) {
      left.set(name, left.get(name)! - 1);
      done.push(name);
      turns.spend(1);
    }
    if (left.get(name)! > 0) turns.wait(() => work(name));
  };
  turns.wait(() => work("large"));
  turns.wait(() => work("small"));
  while (done.length < 6) await setImmediate();
  expect(done).toEqual(["large", "large", "small", "large", "large", "large"]);
});

test("turns that take long become smaller, down to a bound, and larger again once they are short", async () => {
  let nowMs = 0;
  const turns = requestTurns({ now: () => nowMs });
  /** How many requests the next turn has room for. @param eachMs what one takes. */
  const turn = async (eachMs: number): Promise<number> => {
    let count = 0;
    while (!turns.isOver) {
      turns.spend(1);
      nowMs += eachMs;
      count++;
    }
    await setImmediate();
    return count;
  };
  const slow: number[] = [];
  for (let round = 0; round < 7; round++) slow.push(await turn(1));
  expect(slow).toEqual([64, 32, 16, 8, 4, 4, 4]);
  const quick: number[] = [];
  for (let round = 0; round < 6; round++) quick.push(await turn(0));
  expect(quick).toEqual([4, 8, 16, 32, 64, 64]);
});
