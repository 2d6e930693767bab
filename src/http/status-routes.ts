import type { Readiness } from "../readiness.ts";
import type { Role } from "../auth/role.ts";
import { METRICS_CONTENT_TYPE } from "../observability/metrics.ts";
import { type HttpRoutes, sendJson, sendText } from "./http-router.ts";
import { OPEN } from "./route-access.ts";

/** The process as a whole, whichever of its listeners is asked. */
export interface ProcessView {
  /** Everything that `/status` shows but the state, as it is now. */
  describe(): Promise<Readonly<Record<string, unknown>>> | Readonly<Record<string, unknown>>;
  /** Prometheus text format. */
  scrape(): Promise<string>;
}

export interface StatusSources {
  readonly readiness: Readiness;
  readonly process: ProcessView;
  /** What it takes to be told of more than readiness. */
  readonly statusRole: Role;
}

/** What operators and probes ask for: `/healthz`, `/readyz`, `/status`, `/metrics`. */
export function statusRoutes({ readiness, process, statusRole }: StatusSources): HttpRoutes {
  const figures = { role: statusRole, isUncounted: true };
  return (router) => {
    router.route("GET", "/healthz", OPEN, ({ response }) => sendText(response, 200, "alive\n"));
    router.route("GET", "/readyz", OPEN, ({ response }) => {
      const { state, reason } = readiness.status;
      sendText(response, readiness.ready ? 200 : 503, `${reason ?? state}\n`);
    });
    router.route("GET", "/status", figures, async ({ response }) => {
      sendJson(response, 200, { ...readiness.status, ...(await process.describe()) });
    });
    router.route("GET", "/metrics", figures, async ({ response }) => {
      sendText(response, 200, await process.scrape(), METRICS_CONTENT_TYPE);
    });
  };
}
