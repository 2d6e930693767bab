import { setImmediate } from "node:timers/promises";
import { expect, it, onTestFinished } from "vitest";
import { ServiceWatchdog } from "../../src/service-manager/service-watchdog.ts";
import { ManualTimers } from "../support/manual-timers.ts";

const INTERVAL_MS = 8000;

/** A watchdog whose rounds the test answers. */
function startWatchdog() {
  const timers = new ManualTimers();
  const rounds: PromiseWithResolvers<void>[] = [];
  const watched = { timers, rounds, saidAlive: 0 };
  const watchdog = new ServiceWatchdog({
    intervalMs: INTERVAL_MS,
    timers,
    onAlive: () => watched.saidAlive++,
    heartbeat: () => {
      const round = Promise.withResolvers<void>();
      rounds.push(round);
      return round.promise;
    },
  });
  onTestFinished(() => watchdog[Symbol.dispose]());
  return { watched, watchdog };
}

it("says that all are alive once they have answered, and asks again after half an interval", async () => {
  const { watched } = startWatchdog();
  expect([watched.rounds.length, watched.saidAlive]).toEqual([1, 0]);
  watched.rounds[0]?.resolve();
  await setImmediate();
  expect([watched.rounds.length, watched.saidAlive]).toEqual([1, 1]);
  watched.timers.advance(INTERVAL_MS / 2 - 1);
  expect(watched.rounds.length).toBe(1);
  watched.timers.advance(1);
  expect([watched.rounds.length, watched.saidAlive]).toEqual([2, 1]);
});

it("says nothing, and asks nobody else, for as long as one does not answer", async () => {
  const { watched } = startWatchdog();
  watched.timers.advance(10 * INTERVAL_MS);
  await setImmediate();
  expect([watched.rounds.length, watched.saidAlive]).toEqual([1, 0]);
  watched.rounds[0]?.resolve();
  await setImmediate();
  expect(watched.saidAlive).toBe(1);
});

it("asks again soon where one is not running, and says so when it is", async () => {
  const { watched } = startWatchdog();
  for (const failed of [0, 1, 2]) {
    watched.rounds[failed]?.reject(new Error("not running"));
    await setImmediate();
    watched.timers.advance(INTERVAL_MS / 8);
    expect([watched.rounds.length, watched.saidAlive]).toEqual([failed + 2, 0]);
  }
  watched.rounds[3]?.resolve();
  await setImmediate();
  expect(watched.saidAlive).toBe(1);
});

it("says nothing any more once it is stopped, whenever that is", async () => {
  const { watched, watchdog } = startWatchdog();
  watchdog[Symbol.dispose]();
  watched.rounds[0]?.resolve();
  await setImmediate();
  expect([watched.saidAlive, watched.timers.running]).toEqual([0, 0]);

  const { watched: waiting, watchdog: other } = startWatchdog();
  waiting.rounds[0]?.resolve();
  await setImmediate();
  other[Symbol.dispose]();
  expect([waiting.saidAlive, waiting.timers.running]).toEqual([1, 0]);
});
