import { setImmediate } from "node:timers/promises";
import { expect, it } from "vitest";
import { Readiness } from "../../src/readiness.ts";
import { ServiceManager } from "../../src/service-manager/service-manager.ts";
import type { Notification } from "../../src/service-manager/service-notifier.ts";

const STARTING = { STATUS: "starting" };
const SERVING = { READY: 1, STATUS: "serving" };
const DRAINING = { STOPPING: 1, STATUS: "draining: the process is about to exit" };

function manage({ watchdogIntervalMs }: { watchdogIntervalMs?: number } = {}) {
  const told: (Notification | string)[] = [];
  const readiness = new Readiness();
  const server = {
    readiness,
    reload: () => void told.push("reload"),
    heartbeat: async () => void told.push("heartbeat"),
  };
  const clock = { wallMs: () => 0, monotonicMs: () => 1234.5678 };
  const manager = new ServiceManager((notification) => void told.push(notification), watchdogIntervalMs, clock);
  return { told, readiness, server, manager };
}

it("tells of the start, of serving, of each change of what the server is able to do, and of its end", () => {
  const { told, readiness, server, manager } = manage();
  readiness.serve();
  expect(told).toEqual([STARTING]);
  manager.follow(server);
  readiness.serveReadsOnly("a disk");
  readiness.serve();
  readiness.drain();
  expect(told).toEqual([STARTING, SERVING, { STATUS: "read-only: a disk" }, { STATUS: "serving" }, DRAINING]);
});

it("tells of a reload before it begins, with the time in microseconds, and when it is over", () => {
  const { told, readiness, server, manager } = manage();
  readiness.serve();
  manager.follow(server);
  manager.reload(server);
  expect(told.slice(2)).toEqual([{ RELOADING: 1, MONOTONIC_USEC: 1_234_567 }, "reload", { READY: 1 }]);
});

it("says that the server is alive where that is asked for, and not while it drains", async () => {
  const { told, readiness, server, manager } = manage({ watchdogIntervalMs: 3_600_000 });
  readiness.serve();
  manager.follow(server);
  await setImmediate();
  expect(told).toEqual([STARTING, SERVING, "heartbeat", { WATCHDOG: 1 }]);

  const draining = manage({ watchdogIntervalMs: 3_600_000 });
  draining.readiness.serve();
  draining.manager.follow(draining.server);
  draining.readiness.drain();
  await setImmediate();
  expect(draining.told).toEqual([STARTING, SERVING, "heartbeat", DRAINING]);
});
