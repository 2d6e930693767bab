import { rmSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { expect, it, onTestFinished, vi } from "vitest";
import { connectNotify } from "../../src/service-manager/service-notifier.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { ToldManager } from "../support/told-manager.ts";

async function toldManager() {
  const directory = await makeTemporaryDirectory("notify");
  onTestFinished(() => directory[Symbol.asyncDispose]());
  const warnings: string[] = [];
  const logger = pino({ level: "warn" }, { write: (line) => void warnings.push(line) });
  return { directory: directory.path, logger, warnings, manager: new ToldManager(directory.path) };
}

it("tells everything in its order, and nothing of it means anything to a shell", async () => {
  const { manager, logger, warnings } = await toldManager();
  const notify = connectNotify(manager.environment, logger);
  notify({ STATUS: "$(touch here) `id` * 'one' \"two\" \\ ; & \t three\nREADY=1" });
  notify({ READY: 1, STATUS: "serving" });
  notify({ WATCHDOG: 1 });
  notify({ STOPPING: 1 });
  await manager.untilTold("STOPPING=1");
  expect(manager.told).toEqual([
    ["STATUS=$(touch here) `id` * 'one' \"two\" \\ ; &   three READY=1"],
    ["READY=1", "STATUS=serving"],
    ["WATCHDOG=1"],
    ["STOPPING=1"],
  ]);
  expect(warnings).toEqual([]);
});

it("says once that the program is not there, and takes what it is told", async () => {
  const { manager, logger, warnings, directory } = await toldManager();
  rmSync(join(directory, "systemd-notify"));
  const notify = connectNotify({ ...manager.environment, PATH: directory }, logger);
  notify({ READY: 1 });
  await vi.waitFor(() => expect(warnings).toEqual([expect.stringContaining('"exitCode":127')]));
  notify({ WATCHDOG: 1 });
  expect(manager.told).toEqual([]);
});

it("does nothing where nobody wants to be told", async () => {
  const { logger, warnings } = await toldManager();
  connectNotify(undefined, logger)({ READY: 1 });
  expect(warnings).toEqual([]);
});
