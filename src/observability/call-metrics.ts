import { GRPC_STATUS } from "../grpc/grpc-status.ts";
import type { CallObserver } from "../grpc/transport/transport-options.ts";
import type { Metrics } from "./metrics.ts";

const STATUS_NAMES = new Map<number, string>(Object.entries(GRPC_STATUS).map(([name, code]) => [code, name]));

/** Counts and times the calls of a gRPC transport. */
export function createCallMetrics({ instruments }: Metrics): CallObserver {
  return {
    started: () => instruments.rpcInFlight.inc(),
    finished: (method, statusCode, durationMs) => {
      instruments.rpcInFlight.dec();
      instruments.rpcCalls.inc({ method, status: STATUS_NAMES.get(statusCode) ?? String(statusCode) });
      instruments.rpcSeconds.observe({ method }, durationMs / 1000);
    },
  };
}
