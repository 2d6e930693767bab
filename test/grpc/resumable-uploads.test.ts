import { describe, expect, test } from "vitest";
import { ResumableUploads, type ResumableUploadsOptions } from "../../src/grpc/resumable-uploads.ts";
import { randomContent } from "../support/cas-content.ts";
import { ManualTimers } from "../support/manual-timers.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";
import { seededRandom } from "../support/seeded-random.ts";

const random = seededRandom("resumable uploads");
const signal = new AbortController().signal;

function fixture(options: ResumableUploadsOptions = {}) {
  const entries = new MemoryEntryStore();
  const timers = new ManualTimers();
  const uploads = new ResumableUploads({ timers, ...options });
  return {
    entries,
    timers,
    uploads,
    /** Stages the first of `sizeBytes` bytes under the name and breaks off. */
    interrupt: async (name: string, sizeBytes: number): Promise<void> => {
      const claim = await uploads.claim(name, () => undefined, signal);
      const { key, bytes } = randomContent(random, sizeBytes);
      await claim.begin(await entries.stage(key)).write(bytes.subarray(0, 1));
      await claim.release();
    },
    committed: (...names: string[]) => names.map((name) => uploads.committedBytes(name)),
  };
}

describe("the bounds of what is kept", () => {
  test("past the count the upload interrupted first is dropped", async () => {
    const { entries, interrupt, committed } = fixture({ keptMax: 2 });
    for (const name of ["a", "b", "c"]) await interrupt(name, 10);
    expect(committed("a", "b", "c")).toEqual([0, 1, 1]);
    expect(entries.openStaged).toBe(2);
  });

  test("an upload that was resumed and interrupted again counts as the latest", async () => {
    const { interrupt, committed, uploads } = fixture({ keptMax: 2 });
    await interrupt("a", 10);
    await interrupt("b", 10);
    const claim = await uploads.claim("a", () => undefined, signal);
    claim.resume();
    await claim.release();
    await interrupt("c", 10);
    expect(committed("a", "b", "c")).toEqual([1, 0, 1]);
  });

  test("past the bytes, counted as the whole size that staging reserves, as many of the oldest are dropped as it takes", async () => {
    const { entries, interrupt, committed } = fixture({ keptBytesMax: 100 });
    for (const name of ["a", "b", "c"]) await interrupt(name, 30);
    await interrupt("d", 70);
    expect(committed("a", "b", "c", "d")).toEqual([0, 0, 1, 1]);
    await interrupt("e", 101);
    expect(committed("a", "b", "c", "d", "e")).toEqual([0, 0, 0, 0, 0]);
    expect(entries.openStaged).toBe(0);
  });

  test("each is dropped at its time", async () => {
    const { interrupt, committed, timers, entries } = fixture({ keptMsMax: 100 });
    await interrupt("a", 1);
    timers.advance(60);
    await interrupt("b", 1);
    timers.advance(40);
    expect(committed("a", "b")).toEqual([0, 1]);
    timers.advance(60);
    expect(committed("a", "b")).toEqual([0, 0]);
    expect(entries.openStaged).toBe(0);
  });

  test("dropKept drops everything but what is claimed, and leaves no timer", async () => {
    const { interrupt, uploads, committed, timers, entries } = fixture();
    await interrupt("a", 10);
    await interrupt("b", 10);
    const claim = await uploads.claim("a", () => undefined, signal);
    await uploads.dropKept();
    expect(committed("a", "b")).toEqual([1, 0]);
    claim.drop();
    await claim.release();
    expect(entries.openStaged).toBe(0);
    expect(timers.running).toBe(0);
  });
});

test("I5: no two streams hold one name at the same time, however many ask", async () => {
  const { uploads } = fixture();
  let holders = 0;
  let holdersMax = 0;
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      const takenOver = Promise.withResolvers<void>();
      const claim = await uploads.claim("name", () => takenOver.resolve(), signal);
      holdersMax = Math.max(holdersMax, ++holders);
      await Promise.race([takenOver.promise, new Promise(setImmediate)]);
      holders--;
      await claim.release();
    }),
  );
  expect(holdersMax).toBe(1);
});
