import { describe, expect, test } from "vitest";
import { type FileSystem, nodeFileSystem } from "../../../src/storage/file-system.ts";
import { PromptReads } from "../../../src/storage/segment/prompt-reads.ts";

/** Reads that take as long as they are told, from a disk or not. */
function fixture() {
  const state = { nowMs: 0, diskReads: 7, readMs: 0, blocks: 0, bytesMax: Number.POSITIVE_INFINITY };
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    read(_fd, target, position) {
      state.nowMs += state.readMs;
      state.diskReads += state.blocks;
      const bytes = Math.min(target.length, state.bytesMax, Math.max(0, 100 - position));
      target.fill(position, 0, bytes);
      return bytes;
    },
  };
  const reads = new PromptReads({ fileSystem, nowMs: () => state.nowMs, diskReads: () => state.diskReads });
  const read = (readMs: number, blocks: number): void => {
    Object.assign(state, { readMs, blocks });
    reads.read(1, Buffer.alloc(1), 0);
  };
  return { state, reads, read };
}

describe("PromptReads", () => {
  test("reads all that is asked for, however short the single reads, and no further than the end", () => {
    const { state, reads } = fixture();
    state.bytesMax = 30;
    const target = Buffer.alloc(90);
    expect(reads.read(1, target, 0)).toBe(90);
    expect([target[0], target[30], target[89]]).toEqual([0, 30, 60]);
    expect(reads.read(1, target, 20)).toBe(80);
  });

  test("pause for fifty times as long as a disk was waited for, and go on then", () => {
    const { state, reads, read } = fixture();
    read(0.1, 8);
    expect(reads.arePrompt).toBe(true);
    read(4, 8);
    expect(reads.arePrompt).toBe(false);
    state.nowMs += 199;
    expect(reads.arePrompt).toBe(false);
    state.nowMs += 1;
    expect(reads.arePrompt).toBe(true);
    read(2, 8);
    expect(reads.arePrompt).toBe(false);
  });

  test("go on where a slow read came from no disk, whatever others read meanwhile during a pause", () => {
    const { state, reads, read } = fixture();
    read(50, 0);
    expect(reads.arePrompt).toBe(true);
    read(4, 1);
    state.nowMs += 200;
    state.diskReads += 1000;
    expect(reads.arePrompt).toBe(true);
    read(50, 0);
    expect(reads.arePrompt).toBe(true);
  });
});
