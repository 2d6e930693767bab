import type { HttpExchange, HttpRoutes } from "../http-router.ts";
import { namedValueAccess } from "../route-access.ts";
import { absentIfUnavailable, nameIn, sendAbsence, sendStored, sendValue } from "../value-exchange.ts";
import type { ProtocolParts } from "./protocol-parts.ts";

const KEY = /^[0-9a-f]{32,128}$/;

/**
 * Gradle's `HttpBuildCache` at `/gradle/`. One answer to a GET that is neither 200 nor 404 makes Gradle do without the
 * cache for the rest of the build, so that whatever cannot be read now is absent (BEHAVIOUR 7).
 */
export function gradleRoutes({ values, bodies }: ProtocolParts): HttpRoutes {
  const artifacts = values("gradle");
  const access = namedValueAccess("gradle");
  const read = { ...access.read, whenShed: sendAbsence };
  return (router) => {
    router.route("GET", "/gradle/:key", read, (exchange) =>
      absentIfUnavailable(exchange, () => sendValue(exchange, artifacts, keyOf(exchange))),
    );
    router.route("PUT", "/gradle/:key", access.write, async (exchange) => {
      const key = keyOf(exchange);
      await bodies.store(exchange, (options) => artifacts.stage(key, options));
      sendStored(exchange);
    });
  };
}

function keyOf(exchange: HttpExchange): string {
  return nameIn(exchange, "key", KEY, "32 to 128 lower-case hex digits");
}
