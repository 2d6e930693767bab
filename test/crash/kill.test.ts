import { describe, expect, test } from "vitest";
import { testSeed } from "../support/seed.ts";
import { crashCycles, type CycleReport } from "./crash-cycles.ts";

describe.each([{ listeners: 1 }, { listeners: 2 }])("with $listeners listeners", ({ listeners }) => {
  test("a server that is killed during uploads serves every acknowledged blob after a restart, and no torn one", async () => {
    const reports: CycleReport[] = [];
    const options = { cycles: 3, writers: 16, seed: testSeed("kill"), listeners };
    for await (const report of crashCycles(options)) reports.push(report);
    expect(reports).toHaveLength(3);
    expect(reports.flatMap((report) => report.problems)).toEqual([]);
    expect(reports.some((report) => report.uploads.acknowledged.length > 0)).toBe(true);
  });
});
