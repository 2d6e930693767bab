import { describe, expect, test } from "vitest";
import { SLOW_BYTES_MIN, SLOW_PER_IDLE, UploadDeadline } from "../src/upload-deadline.ts";
import type { Timers } from "../src/timers.ts";
import { ManualTimers } from "./support/manual-timers.ts";

const IDLE_MS = 1000;

function fixture({ isServerBusy = false } = {}) {
  const timers = new ManualTimers();
  const told: string[] = [];
  const state = { isServerBusy };
  const deadline = new UploadDeadline({
    idleMsMax: IDLE_MS,
    timers,
    isServerBusy: () => state.isServerBusy,
    onLate: (message) => void told.push(message),
  });
  /** So many bytes at a time, half an idle time after each other. */
  const send = (bytes: number, times: number): void => {
    for (let i = 0; i < times; i++) {
      timers.advance(IDLE_MS / 2);
      deadline.noteProgress(bytes);
    }
  };
  return { timers, told, state, deadline, send };
}

describe("UploadDeadline", () => {
  test("who sends nothing for the idle time is late", () => {
    const { timers, told, send } = fixture();
    send(1, 3);
    timers.advance(IDLE_MS - 1);
    expect(told).toEqual([]);
    timers.advance(1);
    expect(told).toEqual(["no byte of progress in 1 s"]);
  });

  test("who sends a byte now and then is late after ten idle times", () => {
    const { told, send } = fixture();
    send(1, 2 * SLOW_PER_IDLE + 1);
    expect(told).toEqual([]);
    send(1, 1);
    expect(told).toEqual([`fewer than ${SLOW_BYTES_MIN} bytes in 10 s`]);
  });

  test("16 KiB within ten idle times are enough, for ever", () => {
    const { told, send } = fixture();
    send(SLOW_BYTES_MIN / SLOW_PER_IDLE, 10 * SLOW_PER_IDLE);
    expect(told).toEqual([]);
  });

  test("what came fast at first is no excuse for later", () => {
    const { told, send } = fixture();
    send(100 * SLOW_BYTES_MIN, 2);
    send(1, 2 * SLOW_PER_IDLE);
    expect(told).toHaveLength(1);
  });

  test("nobody is late while the server has something to do", () => {
    const { timers, told, state, send } = fixture({ isServerBusy: true });
    send(1, 4 * SLOW_PER_IDLE);
    timers.advance(9.6 * IDLE_MS);
    expect(told).toEqual([]);
    state.isServerBusy = false;
    timers.advance(IDLE_MS);
    expect(told).toEqual(["no byte of progress in 1 s"]);
  });

  test("no timer is set to more than a timer can be", () => {
    const delays: number[] = [];
    const timers: Timers = {
      start(delayMs) {
        delays.push(delayMs);
        return { restart() {}, cancel() {} };
      },
    };
    const idleMsMax = 24 * 24 * 3_600_000;
    using deadline = new UploadDeadline({ idleMsMax, timers, isServerBusy: () => false, onLate() {} });
    deadline.noteProgress(1);
    deadline.noteProgress(1);
    expect(delays).toEqual([idleMsMax, 2 ** 31 - 1]);
  });

  test("disposing of it leaves no timer", () => {
    const { timers, deadline, send } = fixture();
    send(1, 5);
    expect(timers.running).toBe(2);
    deadline[Symbol.dispose]();
    expect(timers.running).toBe(0);
  });
});
