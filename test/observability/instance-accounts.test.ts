import { describe, expect, test } from "vitest";
import { type InstanceAccount, shownAccounts } from "../../src/observability/instance-accounts.ts";

const account = (name: string | undefined, bytes: number, quotaBytes?: number): InstanceAccount => ({
  name,
  bytes,
  quotaBytes,
});

describe("accounts as they are shown", () => {
  test("begin with the largest, and say the quota", () => {
    expect(shownAccounts([account("a", 1), account("b", 3, 10), account("", 2)])).toEqual([
      { instance: "b", storedBytes: 3, quotaBytes: 10 },
      { instance: "(none)", storedBytes: 2, quotaBytes: undefined },
      { instance: "a", storedBytes: 1, quotaBytes: undefined },
    ]);
  });

  test("are 64 at the most, and one for all others", () => {
    const accounts = Array.from({ length: 100 }, (_, i) => account(`branch/${i}`, i + 1, 1000));
    const shown = shownAccounts(accounts);
    expect(shown).toHaveLength(65);
    expect(shown[0]).toEqual({ instance: "branch/99", storedBytes: 100, quotaBytes: 1000 });
    expect(shown.at(-1)).toEqual({ instance: "(other)", storedBytes: (36 * 37) / 2, quotaBytes: undefined });
  });

  test("whose name is lost are among the others", () => {
    expect(shownAccounts([account(undefined, 5), account(undefined, 6), account("a", 1)])).toEqual([
      { instance: "(other)", storedBytes: 11, quotaBytes: undefined },
      { instance: "a", storedBytes: 1, quotaBytes: undefined },
    ]);
  });

  test("whose names are alike once they are cut are one", () => {
    const long = "x".repeat(100);
    expect(shownAccounts([account(`${long}1`, 5, 10), account(`${long}2`, 6, 10)])).toEqual([
      { instance: long, storedBytes: 11, quotaBytes: undefined },
    ]);
  });
});
