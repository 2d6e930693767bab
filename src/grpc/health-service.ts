import { CacheError } from "../cache/cache-error.ts";
import { type HealthCheckResponse, SERVING_STATUS } from "./health-messages.ts";
import { bindService } from "./proto-services.ts";
import type { BoundMethod } from "./transport/handler.ts";

/** Whether the server takes calls, and when that changes. */
export interface ReadinessSource {
  readonly ready: boolean;
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

    async *Watch({ service }, call) {
      if (!known.has(service)) {
        // The protocol wants the stream kept open: the service might come up later. Here none does.
        yield { status: SERVING_STATUS.serviceUnknown };
        await aborted(call.signal);
        return;
      }
      yield* statusChanges(readiness, statusNow, call.signal);
    },
  });
}

/** The status now, then each new one until `signal` aborts. Changes that undo each other unseen are left out. */
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
      if (current.status === sent) {
        // Nothing can change between the look and the wait: both happen in one turn of the event loop.
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      } else {
        sent = current.status;
        yield current;
      }
    }
  } finally {
    unsubscribe();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
