import { type Clock, systemClock } from "../clock.ts";
import type { Readiness, ReadinessStatus } from "../readiness.ts";
import type { Notify } from "./service-notifier.ts";
import { ServiceWatchdog } from "./service-watchdog.ts";

/** A server as its service manager sees it. */
export interface ManagedServer {
  readonly readiness: Readiness;
  reload(): void;
  heartbeat(): Promise<void>;
}

/** Keeps the service manager, if there is one, up to date about a server. */
export class ServiceManager {
  readonly #notify: Notify;
  readonly #watchdogIntervalMs: number | undefined;
  readonly #clock: Clock;
  #watchdog: ServiceWatchdog | undefined;

  /** @param watchdogIntervalMs How long a service that lives may be silent; undefined where nobody counts. */
  constructor(notify: Notify, watchdogIntervalMs: number | undefined, clock: Clock = systemClock) {
    this.#notify = notify;
    this.#watchdogIntervalMs = watchdogIntervalMs;
    this.#clock = clock;
    notify({ STATUS: "starting" });
  }

  /** The server serves from now on, until it drains. */
  follow(server: ManagedServer): void {
    const { readiness } = server;
    this.#notify({ READY: 1, STATUS: textOf(readiness.status) });
    if (this.#watchdogIntervalMs !== undefined) {
      this.#watchdog = new ServiceWatchdog({
        intervalMs: this.#watchdogIntervalMs,
        heartbeat: () => server.heartbeat(),
        onAlive: () => this.#notify({ WATCHDOG: 1 }),
      });
    }
    readiness.onChange((status) => this.#show(status));
  }

  /** The manager may have asked for it, and knows by the time, which is of its own clock, that it began after that. */
  reload(server: ManagedServer): void {
    this.#notify({ RELOADING: 1, MONOTONIC_USEC: Math.floor(this.#clock.monotonicMs() * 1000) });
    server.reload();
    this.#notify({ READY: 1 });
  }

  #show(status: ReadinessStatus): void {
    if (status.state !== "draining") return this.#notify({ STATUS: textOf(status) });
    this.#watchdog?.[Symbol.dispose]();
    this.#notify({ STOPPING: 1, STATUS: textOf(status) });
  }
}

function textOf({ state, reason }: ReadinessStatus): string {
  return reason ?? state;
}
