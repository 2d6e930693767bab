import { grpcStatusName } from "../grpc/grpc-status.ts";
import type { CallObserver } from "../grpc/transport/transport-options.ts";
import type { Metrics } from "./metrics.ts";

/** Counts and times the calls of a gRPC transport. What is counted reaches the registry at a scrape. */
export function createCallMetrics(metrics: Metrics): CallObserver {
  const { rpcInFlight, rpcCalls, rpcSeconds } = metrics.instruments;
  /** Since the last scrape: calls by method and status. */
  const ended = new Map<string, Map<number, number>>();
  let inFlight = 0;
  metrics.onScrape(() => {
    rpcInFlight.set(inFlight);
    for (const [method, counts] of ended) {
      for (const [code, count] of counts) {
        rpcCalls.inc({ method, status: grpcStatusName(code) }, count);
      }
      counts.clear();
    }
  });
  return {
    started: () => {
      inFlight++;
    },
    finished: (method, statusCode, durationMs, shedBy) => {
      inFlight--;
      if (shedBy !== undefined) metrics.countShed("grpc", shedBy);
      let counts = ended.get(method);
      if (counts === undefined) ended.set(method, (counts = new Map()));
      counts.set(statusCode, (counts.get(statusCode) ?? 0) + 1);
      rpcSeconds.add(method, durationMs / 1000);
    },
  };
}
