import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeRecording, encodeRecording, type Recording } from "../../bench/replay/recording.ts";
import { makeReplayBlobs } from "../../bench/replay/replay-blobs.ts";

const BAZEL_TREE = new URL("../../bench/replay/bazel-tree.txt", import.meta.url);

describe("a recording of a build", () => {
  it("survives being written and read", () => {
    const recording: Recording = {
      blobBytes: [1, 20, 0, 300],
      trees: new Map([
        [1, [0, 2, 3]],
        [3, []],
      ]),
      phases: [
        {
          name: "cold",
          actionsInFlight: 2,
          actions: [
            {
              number: 7,
              steps: [
                [{ kind: "miss" }],
                [{ kind: "find", blobs: [0, 1, 2, 3] }],
                [
                  { kind: "write", blobs: [3, 0, 1] },
                  { kind: "read", blobs: [2] },
                ],
                [{ kind: "update", files: [0, 2], trees: [1], streams: [] }],
              ],
            },
          ],
        },
        { name: "warm", actionsInFlight: 1, actions: [{ number: 7, steps: [[{ kind: "hit" }]] }] },
      ],
    };
    expect(decodeRecording(encodeRecording(recording))).toEqual(recording);
  });

  it.each(["action 0 miss;fetch 1", "action 0 find 1-x", "colour 4"])("is refused with a line as %s", (line) => {
    expect(() => decodeRecording(`blobs 1,2\nphase cold 1\n${line}\n`)).toThrow(SyntaxError);
  });

  it("of the bazel-tree fixture has all of its calls, and reads only what it has written", () => {
    const { blobBytes, phases } = decodeRecording(readFileSync(BAZEL_TREE, "utf8"));
    const [cold = [], warm = []] = phases.map(({ actions }) => actions.flatMap(({ steps }) => steps.flat()));
    const blobsOf = (calls: typeof cold, kind: string): number[] =>
      calls.flatMap((call) => ("blobs" in call && call.kind === kind ? call.blobs : []));
    expect(cold.filter(({ kind }) => kind === "miss")).toHaveLength(81);
    expect(cold.filter(({ kind }) => kind === "update")).toHaveLength(81);
    expect(warm.filter(({ kind }) => kind === "hit")).toHaveLength(81);
    const written = new Set(blobsOf(cold, "write"));
    expect(written.size).toBe(1438);
    expect(blobsOf(warm, "read").filter((blob) => !written.has(blob))).toEqual([]);
    expect(blobsOf(warm, "read").reduce((sum, blob) => sum + (blobBytes[blob] ?? 0), 0)).toBe(386_129_904);
  });
});

describe("the blobs of a replay", () => {
  const recording: Recording = { blobBytes: [100, 2000, 0, 500], trees: new Map([[3, [0, 1, 2]]]), phases: [] };

  it("are the same for the same seed, and others for another one", () => {
    const hashes = (seed: string): string[] => makeReplayBlobs(recording, seed).map((blob) => blob.hash);
    expect(hashes("a")).toEqual(hashes("a"));
    expect(hashes("a")[0]).not.toBe(hashes("b")[0]);
  });

  it("have their recorded sizes, a Tree nearly so, and a Tree names its files", () => {
    const [first, second, empty, tree] = makeReplayBlobs(recording, "a");
    expect([first, second, empty].map((blob) => blob?.content.length)).toEqual([100, 2000, 0]);
    expect(Math.abs((tree?.sizeBytes ?? 0) - 500)).toBeLessThan(10);
    for (const file of [first, second, empty]) expect(tree?.content.includes(file?.hash ?? "missing")).toBe(true);
  });
});
