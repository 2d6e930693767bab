import { expect, test } from "vitest";
import { ClosedStreams } from "../../src/http2/closed-streams.ts";

const IDS = Array.from({ length: 3000 }, (_, i) => 2 * i + 1);
const REMEMBERED = 1024;

test("the last 1024 streams are remembered, however many there have been", () => {
  const closed = new ClosedStreams();
  for (const [count, id] of IDS.entries()) {
    closed.add(id, id % 3 === 0);
    const oldest = IDS[Math.max(0, count + 1 - REMEMBERED)]!;
    for (const known of [id, oldest]) expect(closed.stateOf(known)).toBe(known % 3 === 0 ? "reset" : "ended");
    // Of the first, the one before it was none.
    for (const unknown of [oldest - 2, id + 2]) expect(closed.stateOf(unknown)).toBe("forgotten");
  }
});

test("a first stream with a high number is remembered", () => {
  const closed = new ClosedStreams();
  closed.add(100_001, true);
  closed.add(100_003, false);
  expect([99_999, 100_001, 100_003, 1].map((id) => closed.stateOf(id))).toEqual([
    "forgotten",
    "reset",
    "ended",
    "forgotten",
  ]);
});
