import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { expectFailure, Mismatch } from "./expectations.ts";
import { formatRow, formatTally, tally } from "./report.ts";
import { examine, type Finding, type Level, type Requirement, type Verdict } from "./requirement.ts";
import { REQUIREMENTS } from "./requirements.ts";
import type { Target } from "./target.ts";

// What the rows below are given does not look at the server.
const NO_TARGET = {} as Target;

function requirement(check: Requirement["check"], offered?: Requirement["offered"]): Requirement {
  return { id: "a.b", level: "MUST", what: "", source: "", check, ...(offered === undefined ? {} : { offered }) };
}

function finding(level: Level, verdict: Verdict): Finding {
  return {
    id: "a.b",
    level,
    what: "what",
    source: "Where",
    verdict,
    detail: verdict === "FAIL" ? "expected this" : "",
  };
}

function serviceError(code: number): Error {
  return Object.assign(new Error(), { code, details: "gone" });
}

test("every row has an id of its own, made of an area and a name", () => {
  const ids = REQUIREMENTS.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids) expect(id).toMatch(/^[a-z0-9-]+(\.[a-z0-9-]+)+$/);
});

test("a row fails with what was expected and what came", async () => {
  const mismatch = requirement(async () => {
    throw new Mismatch("OK", "something else");
  });
  expect(await examine(mismatch, NO_TARGET)).toMatchObject({
    verdict: "FAIL",
    detail: "expected OK, got something else",
  });
});

test("a call that fails although it had to succeed fails its row with the status", async () => {
  const refused = requirement(() => Promise.reject(serviceError(status.NOT_FOUND)));
  expect((await examine(refused, NO_TARGET)).detail).toBe("expected OK, got NOT_FOUND (gone)");
});

test("a call that succeeds, or fails with another status than the one expected, fails its row", async () => {
  await expect(expectFailure(Promise.resolve(), "NOT_FOUND")).rejects.toThrow("expected NOT_FOUND, got OK");
  await expect(expectFailure(Promise.reject(serviceError(status.INTERNAL)), "NOT_FOUND")).rejects.toThrow("INTERNAL");
  await expectFailure(Promise.reject(serviceError(status.NOT_FOUND)), "NOT_FOUND");
});

test("a row about what is not offered is not tried", async () => {
  const untried = requirement(
    () => Promise.reject(new Error("tried")),
    () => false,
  );
  expect((await examine(untried, NO_TARGET)).verdict).toBe("not offered");
});

test("a SHOULD counts as failed only where the run is strict", () => {
  const findings = [finding("MUST", "pass"), finding("SHOULD", "FAIL"), finding("MUST", "not offered")];
  expect(tally(findings, false)).toEqual({ passed: 1, failed: 0, shouldFailed: 1, notOffered: 1 });
  expect(tally(findings, true).failed).toBe(1);
  expect(tally([finding("MUST", "FAIL")], false).failed).toBe(1);
});

test("the last line is the one that scripts read, and a failed row shows its reason below", () => {
  expect(formatTally({ passed: 3, failed: 1, shouldFailed: 0, notOffered: 2 }, true)).toMatch(/\n3 passed, 1 failed$/);
  expect(formatRow(finding("MUST", "FAIL"))).toMatch(/^a\.b .*FAIL.*what\n +expected this$/);
});
