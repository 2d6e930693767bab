import { describe, expect, test } from "vitest";
import { OTHER_NAMES, TopNames } from "../../src/observability/top-names.ts";

const top = (namesMax: number): TopNames<"ac"> => new TopNames({ kinds: ["ac"], namesMax });

function countedBy(names: TopNames<"ac">): Record<string, { hits: number; misses: number }> {
  return Object.fromEntries([...names.counts()].map(([name, { ac }]) => [name, { ...ac }]));
}

function calls(names: TopNames<"ac">, name: string, count: number): void {
  for (let i = 0; i < count; i++) names.count(name, "ac", 1, 2);
}

describe("TopNames", () => {
  test("counts the first to come by themselves and the rest together", () => {
    const names = top(2);
    for (const name of ["a", "b", "c", "d", "a"]) names.count(name, "ac", 3, 1);
    expect(countedBy(names)).toEqual({
      a: { hits: 6, misses: 2 },
      b: { hits: 3, misses: 1 },
      [OTHER_NAMES]: { hits: 6, misses: 2 },
    });
  });

  test("a name that calls more often than the least of those with a place takes it over, and counts from then on", () => {
    const names = top(2);
    calls(names, "often", 1000);
    calls(names, "seldom", 20);
    calls(names, "newcomer", 20);
    expect(Object.keys(countedBy(names))).toEqual(["often", "seldom", OTHER_NAMES]);
    calls(names, "newcomer", 5);
    const counted = countedBy(names);
    expect(Object.keys(counted)).toEqual(["often", "newcomer", OTHER_NAMES]);
    expect(counted["newcomer"]).toEqual({ hits: 5, misses: 10 });
    expect(counted[OTHER_NAMES]).toEqual({ hits: 20, misses: 40 });
  });

  test("a client that makes up a name for each call takes no place, even of those that call seldom", () => {
    const names = top(3);
    for (const name of ["a", "b", "c"]) calls(names, name, 1);
    for (let i = 0; i < 200_000; i++) names.count(`made up ${i}`, "ac", 0, 1);
    expect(countedBy(names)).toEqual({
      a: { hits: 1, misses: 2 },
      b: { hits: 1, misses: 2 },
      c: { hits: 1, misses: 2 },
      [OTHER_NAMES]: { hits: 0, misses: 200_000 },
    });
  });

  test("what was used once is not held on to for ever", () => {
    const names = top(1);
    calls(names, "of old", 50_000);
    calls(names, "of now", 50_000);
    expect(Object.keys(countedBy(names))).toContain("of now");
  });

  test("shows a name of any length or none in few characters", () => {
    const names = top(3);
    calls(names, "", 1);
    calls(names, "x".repeat(5000), 1);
    expect(Object.keys(countedBy(names))).toEqual(["(none)", "x".repeat(100)]);
  });
});
