import { CacheError } from "../cache/cache-error.ts";
import { type HealthCheckResponse, SERVING_STATUS } from "./health-messages.ts";
import { bindService } from "./proto-services.ts";
import type { BoundMethod } from "./transport/handler.ts";

/** Whether the server takes calls, and when that changes. */
export interface ReadinessSource {
  readonly ready: boolean;
  /** Whether the server is about to end: streams that only watch it end too. */
  readonly draining: boolean;
  /** Calls `listener` after every change until the returned function is called. */
  onChange(listener: () => void): () => void;
}

export interface HealthServiceOptions {
  readonly readiness: ReadinessSource;
  /** Full names of the services that share that readiness; the name "" stands for the server as a whole. */
  readonly services: readonly string[];
}

const HEALTH_SERVICE = "grpc.health.v1.Health";

/** `grpc.health.v1`: all services are ready together, because all of them need the whole store. */
export function healthService(options: HealthServiceOptions): BoundMethod[] {
  const { readiness } = options;
  const known = new Set(["", HEALTH_SERVICE, ...options.services]);
  const statusNow = (): HealthCheckResponse => ({
    status: readiness.ready ? SERVING_STATUS.serving : SERVING_STATUS.notServing,
  });

  return bindService(HEALTH_SERVICE, {
    Check: async ({ service }) => {
      if (!known.has(service)) {
        throw new CacheError("not_found", `service: expected a service of this server, got ${JSON.stringify(service)}`);
      }
      return statusNow();
    },

    // For an unknown service the protocol wants the stream kept open: it might come up later. Here none does.
    Watch: ({ service }, call) =>
      statusChanges(
        readiness,
        known.has(service) ? statusNow : () => ({ status: SERVING_STATUS.serviceUnknown }),
        call.signal,
      ),
  });
}

/** The status now, then each new one until the server drains or `signal` aborts. Changes that undo each other unseen are left out. */
async function* statusChanges(
  readiness: ReadinessSource,
  statusNow: () => HealthCheckResponse,
  signal: AbortSignal,
): AsyncGenerator<HealthCheckResponse> {
  let wake = (): void => {};
  const unsubscribe = readiness.onChange(() => wake());
  signal.addEventListener("abort", () => wake(), { once: true });
  try {
    let sent: number | undefined;
    while (!signal.aborted) {
      const current = statusNow();
      if (current.status !== sent) {
        sent = current.status;
        yield current;
        continue;
      }
      // A watcher has no work in flight that a drain should wait for.
      if (readiness.draining) return;
      // Nothing can change between the look and the wait: both happen in one turn of the event loop.
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    unsubscribe();
  }
}
