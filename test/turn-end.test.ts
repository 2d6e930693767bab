import { expect, test } from "vitest";
import { requestTurns } from "../src/http2/loop-turns.ts";
import { TurnEnd } from "../src/turn-end.ts";

/** The end of turns that end when the test says so. */
function manualTurnEnd(): { turnEnd: TurnEnd; end: () => void; scheduledCount: () => number } {
  const scheduled: (() => void)[] = [];
  const turnEnd = new TurnEnd((call) => scheduled.push(call));
  return { turnEnd, end: () => scheduled.shift()!(), scheduledCount: () => scheduled.length };
}

test("what goes on from turn to turn comes behind what has just become ready", () => {
  const { turnEnd, end } = manualTurnEnd();
  const done: string[] = [];
  const goOn = (): void => {
    done.push("long");
    if (done.length < 6) turnEnd.last(goOn);
  };
  turnEnd.last(goOn);
  for (const answer of ["a", "b", "c"]) {
    turnEnd.first(() => done.push(answer));
    end();
  }
  expect(done).toEqual(["a", "long", "b", "long", "c", "long"]);
});

test("a turn has one end, and what is given there is for the next one", () => {
  const { turnEnd, end, scheduledCount } = manualTurnEnd();
  const done: number[] = [];
  const call = (): void => {
    done.push(done.length);
    turnEnd.first(call);
  };
  turnEnd.first(call);
  turnEnd.first(call);
  expect(scheduledCount()).toBe(1);
  end();
  expect(done).toEqual([0, 1]);
  expect(scheduledCount()).toBe(1);
  end();
  expect(done).toEqual([0, 1, 2, 3]);
});

test("a call that throws costs the others a turn, not their call", () => {
  const { turnEnd, end, scheduledCount } = manualTurnEnd();
  const done: string[] = [];
  turnEnd.last(() => done.push("last"));
  turnEnd.first(() => {
    throw new Error("a fault");
  });
  turnEnd.first(() => done.push("first"));
  expect(end).toThrow("a fault");
  expect(done).toEqual([]);
  end();
  expect(done).toEqual(["first", "last"]);
  expect(scheduledCount()).toBe(0);
});

test("requests that wait for a turn begin behind the answers of those before", () => {
  const { turnEnd, end } = manualTurnEnd();
  const turns = requestTurns({ atEnd: turnEnd.last, now: () => 0 });
  const done: string[] = [];
  turns.wait(() => done.push("request"));
  turnEnd.first(() => done.push("answer"));
  end();
  expect(done).toEqual(["answer", "request"]);
});
