import type { Metrics } from "../observability/metrics.ts";
import type { Readiness } from "../readiness.ts";
import { type HttpRoutes, sendJson, sendText } from "./http-router.ts";

export interface StatusSources {
  readonly readiness: Readiness;
  readonly metrics: Metrics;
  /** Everything that `/status` shows but the state, as it is now. */
  readonly describe: () => Readonly<Record<string, unknown>>;
}

/** What operators and probes ask for: `/healthz`, `/readyz`, `/status`, `/metrics`. */
export function statusRoutes({ readiness, metrics, describe }: StatusSources): HttpRoutes {
  return (router) => {
    router.route("GET", "/healthz", ({ response }) => sendText(response, 200, "alive\n"));
    router.route("GET", "/readyz", ({ response }) => {
      const { state, reason } = readiness.status;
      sendText(response, readiness.ready ? 200 : 503, `${reason ?? state}\n`);
    });
    router.route("GET", "/status", ({ response }) => sendJson(response, 200, { ...readiness.status, ...describe() }));
    router.route("GET", "/metrics", async ({ response }) => {
      sendText(response, 200, await metrics.scrape(), metrics.registry.contentType);
    });
  };
}
