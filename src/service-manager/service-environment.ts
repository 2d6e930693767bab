import type { ListeningAddress } from "./listening-address.ts";

/** What a service manager says by its environment to the process that it starts (sd_listen_fds, sd_notify). */
export interface ServiceEnvironment {
  /** Given where there is a socket to serve on. */
  readonly socket: InheritedSocket | undefined;
  /** Given where it wants to be told what becomes of the process. */
  readonly notify: NotifyEnvironment | undefined;
  /** Given where it ends a process that says nothing for so long. */
  readonly watchdogIntervalMs: number | undefined;
}

/** The environment of the program that tells it. */
export interface NotifyEnvironment {
  readonly NOTIFY_SOCKET: string;
  readonly PATH: string | undefined;
}

/** A listening socket that whoever started this process has opened. */
export interface InheritedSocket extends ListeningAddress {
  readonly descriptor: number;
}

/** Meant for one process, and not for those that it starts. */
export const SERVICE_VARIABLES = [
  "LISTEN_FDS",
  "LISTEN_PID",
  "LISTEN_FDNAMES",
  "NOTIFY_SOCKET",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
] as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** Descriptors are handed down from here on: SD_LISTEN_FDS_START. */
const FIRST_DESCRIPTOR = 3;
/** Whoever may be silent for longer may say something earlier; a timer holds no more than three weeks and a bit. */
const WATCHDOG_INTERVAL_MS_MAX = 86_400_000;

export interface ServiceProcess {
  readonly pid: number;
  readonly listeningAddressOf: (descriptor: number) => ListeningAddress | undefined;
}

/** Adds to `problems` why what was handed down cannot be used. */
export function readServiceEnvironment(
  environment: Environment,
  process: ServiceProcess,
  problems: string[],
): ServiceEnvironment {
  const given = withoutEmpty(environment);
  const { NOTIFY_SOCKET, PATH } = given;
  const socket = readSocket(given, process, problems);
  if (NOTIFY_SOCKET === undefined) return { socket, notify: undefined, watchdogIntervalMs: undefined };
  const watchdogIntervalMs = readWatchdog(given, process, problems);
  return { socket, notify: { NOTIFY_SOCKET, PATH }, watchdogIntervalMs };
}

/** An empty variable counts as unset, as everywhere in the configuration. */
function withoutEmpty(environment: Environment): Environment {
  return Object.fromEntries(Object.entries(environment).filter(([, text]) => text !== ""));
}

function readSocket(
  { LISTEN_FDS: count, LISTEN_PID: pid }: Environment,
  process: ServiceProcess,
  problems: string[],
): InheritedSocket | undefined {
  if (count === undefined) return undefined;
  if (pid !== String(process.pid)) {
    // To serve elsewhere instead would look as if all were well, while connections wait in the socket for good.
    problems.push(
      `LISTEN_PID: expected ${process.pid}, which is this process, got ${JSON.stringify(pid ?? "")}; npm start is another one`,
    );
    return undefined;
  }
  if (count !== "1") {
    problems.push(`LISTEN_FDS: expected 1 socket, got ${JSON.stringify(count)}`);
    return undefined;
  }
  const address = process.listeningAddressOf(FIRST_DESCRIPTOR);
  if (address === undefined) {
    problems.push(
      `LISTEN_FDS: expected descriptor ${FIRST_DESCRIPTOR} to be a TCP socket that listens, in this network namespace`,
    );
    return undefined;
  }
  return { descriptor: FIRST_DESCRIPTOR, ...address };
}

function readWatchdog(
  { WATCHDOG_USEC: interval, WATCHDOG_PID: pid }: Environment,
  process: ServiceProcess,
  problems: string[],
): number | undefined {
  // Another process of the service may be the one that is watched.
  if (interval === undefined || (pid !== undefined && pid !== String(process.pid))) return undefined;
  if (/^[1-9]\d{0,19}$/.test(interval)) return Math.min(Number(interval) / 1000, WATCHDOG_INTERVAL_MS_MAX);
  problems.push(`WATCHDOG_USEC: expected microseconds, got ${JSON.stringify(interval)}`);
  return undefined;
}
