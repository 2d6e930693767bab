import { spawn } from "node:child_process";
import type { Logger } from "../observability/logger.ts";
import type { NotifyEnvironment } from "./service-environment.ts";

/** What a service manager can be told, by the names of sd_notify(3). Texts are one line. */
export interface Notification {
  readonly READY?: 1;
  readonly RELOADING?: 1;
  readonly MONOTONIC_USEC?: number;
  readonly STATUS?: string;
  readonly STOPPING?: 1;
  readonly WATCHDOG?: 1;
}

/** Tells it, at some time soon and in the order of the calls; what fails is in the log only. */
export type Notify = (notification: Notification) => void;

/**
 * A notification is a datagram to a Unix socket, which Node cannot send, and systemd's own program can. To start a
 * program the kernel copies the page tables of this process, which stops all of its threads: 15 ms with 50 MiB, 60 with
 * 500. So that is done once, at the start, for a shell that takes lines from then on. Nothing of a line becomes a part of
 * its script. It ends with its input, which is to say with this process, after the last line: signals that are sent to the
 * whole service do not hurry it.
 */
const SCRIPT = `
  trap '' HUP INT TERM
  set -f
  IFS='\t'
  while read -r assignments; do
    systemd-notify $assignments < /dev/null
    [ $? -ne 127 ] || exit 127
  done`;

/** @returns what does nothing where there is no service manager. */
export function connectNotify(environment: NotifyEnvironment | undefined, logger: Logger): Notify {
  if (environment === undefined) return () => {};
  const shell = spawn("/bin/sh", ["-c", SCRIPT], { env: { ...environment }, stdio: ["pipe", "ignore", "inherit"] });
  const warn = (detail: object): void => logger.warn(detail, "the service manager is told nothing any more");
  shell.once("error", (error) => warn({ error }));
  shell.once("exit", (exitCode, signal) => warn({ exitCode, signal }));
  // Its end, which is told of above, is why it takes nothing.
  shell.stdin.on("error", () => {});
  return (notification) => {
    // The pipe and a buffer are full: whoever is so far behind does not listen.
    if (!shell.stdin.writableNeedDrain) shell.stdin.write(asLine(notification));
  };
}

function asLine(notification: Notification): string {
  const assignments = Object.entries(notification).map(([name, value]) => `${name}=${value}`);
  return `${assignments.map((assignment) => assignment.replaceAll(/\s/g, " ")).join("\t")}\n`;
}
