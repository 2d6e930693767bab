import { expect, test } from "vitest";
import { testSeed } from "../support/seed.ts";
import { cyclePassed, runCrashCycles } from "./crash-cycles.ts";

test("a server that is killed during uploads serves every acknowledged blob after a restart, and no torn one", async () => {
  const reports = await runCrashCycles({ cycles: 3, writers: 16, seed: testSeed("kill") });
  expect(reports).toHaveLength(3);
  expect(reports.filter((report) => !cyclePassed(report))).toEqual([]);
  expect(reports.some((report) => report.acknowledgedBlobs > 0)).toBe(true);
});
