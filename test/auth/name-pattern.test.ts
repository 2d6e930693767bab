import { expect, test } from "vitest";
import { NamePattern } from "../../src/auth/name-pattern.ts";

test.each([
  ["main", ["main"], ["", "main2", "mai"]],
  ["", [""], ["a"]],
  ["*", ["", "main", "team/a"], []],
  ["team/*", ["team/", "team/a/b"], ["team", "a/team/b"]],
  ["*-ci", ["-ci", "linux-ci"], ["ci", "linux-ci-2"]],
  ["a*b*c", ["abc", "a1b2c", "abbcc"], ["ac", "acb", "ab"]],
  ["ab*ba", ["abba", "ab-ba"], ["aba"]],
  [".*", [".", ".git"], ["x"]],
])("%j stands for %j, and not for %j", (pattern, matching, others) => {
  const tested = new NamePattern(pattern);
  expect(matching.filter((name) => !tested.matches(name))).toEqual([]);
  expect(others.filter((name) => tested.matches(name))).toEqual([]);
});

test("a long name that almost matches takes no longer than its length", () => {
  expect(new NamePattern(`${"a*".repeat(50)}b`).matches(`${"a".repeat(100_000)}c`)).toBe(false);
});
