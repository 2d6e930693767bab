import "./engine-flags.ts";
import "./small-buffer-pools.ts";
import { constants } from "node:os";
import process from "node:process";
import { systemClock } from "./clock.ts";
import { type Config, forgetServiceEnvironment, formatSettings, loadConfig } from "./config.ts";
import { createLogger } from "./observability/logger.ts";
import { startServer } from "./server.ts";
import type { ServiceEnvironment } from "./service-manager/service-environment.ts";
import { ServiceManager } from "./service-manager/service-manager.ts";
import { connectNotify } from "./service-manager/service-notifier.ts";
import { verifyStore } from "./storage/verify-store.ts";
import { formatVerifySummary, showProgress } from "./verify-report.ts";
import { VERSION } from "./version.ts";

const STOP_SIGNALS = ["SIGTERM", "SIGINT"] as const;
/** Ctrl-C under `npm start` arrives twice: the terminal sends it to every process, and npm passes it on. */
const SIGNAL_ECHO_MS = 100;

/** @returns the exit code. */
async function main(): Promise<number> {
  const invocation = loadConfig();
  forgetServiceEnvironment();
  switch (invocation.command) {
    case "print":
      process.stdout.write(invocation.text);
      return 0;
    case "refuse":
      process.stderr.write(`kura: cannot start\n${invocation.problems.map((line) => `  ${line}\n`).join("")}`);
      return 1;
    case "config":
      process.stdout.write(formatSettings(invocation.settings));
      return 0;
    case "verify":
      return verify(invocation.config);
    case "serve":
      return await serve(invocation.config, invocation.service);
  }
}

async function serve(config: Config, { socket, notify, watchdogIntervalMs }: ServiceEnvironment): Promise<number> {
  const logger = createLogger({ level: config.logLevel, format: config.logFormat });
  process.on("uncaughtExceptionMonitor", (error) => logger.fatal({ error }, "the process ends"));
  const manager = new ServiceManager(connectNotify(notify, logger), watchdogIntervalMs);
  // Before the start, so that a signal that comes meanwhile stops the server as soon as it runs.
  const stopped = nextStopSignal();
  try {
    const server = await startServer(config, { logger, inheritedSocket: socket });
    manager.follow(server);
    // Left alone where it has nothing to do: then the end of a terminal is the end of the server. A service has none.
    if (server.hasFiles || notify !== undefined) process.on("SIGHUP", () => manager.reload(server));
    const origin = socket === undefined ? "" : " (inherited socket)";
    process.stdout.write(`kura ${VERSION} listening on ${server.endpoint}${origin}\n`);
    logger.info({ signal: await stopped }, "draining; a second signal ends the process at once");
    await server.close();
    logger.info("closed");
    return 0;
  } catch (error) {
    logger.debug({ error }, "failed");
    process.stderr.write(`kura: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

/** @returns 0: all is well; 1: damage was found, each listed on stdout; 2: the directory could not be looked at. */
function verify({ directory }: Config): number {
  try {
    const summary = verifyStore(directory, showProgress);
    process.stdout.write(formatVerifySummary(directory, summary));
    return summary.damage.length === 0 ? 0 : 1;
  } catch (error) {
    process.stderr.write(`kura: ${error instanceof Error ? error.message : String(error)}\n`);
    return 2;
  }
}

/** Resolves with the first signal. The second one ends the process, with the exit code that shells give to it. */
function nextStopSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let firstAtMs: number | undefined;
  for (const name of STOP_SIGNALS) {
    process.on(name, () => {
      const nowMs = systemClock.monotonicMs();
      firstAtMs ??= nowMs;
      if (nowMs - firstAtMs > SIGNAL_ECHO_MS) process.exit(128 + constants.signals[name]);
      resolve(name);
    });
  }
  return promise;
}

// Explicitly: a handle that somebody forgot must not keep a closed server from ending.
process.exit(await main());
