import type { HttpExchange, HttpRoutes } from "../http-router.ts";
import { namedValueAccess } from "../route-access.ts";
import { absentIfUnavailable, nameIn, sendAbsence, sendStored, sendValue } from "../value-exchange.ts";
import type { ProtocolParts } from "./protocol-parts.ts";

const KEY = /^[0-9a-f]{40,128}$/;

/**
 * Metro's `HttpStore` and `HttpGetStore` at `/metro/`. A GET that is answered by anything but 200 and 404 fails the bundle,
 * so that whatever cannot be read now is absent.
 */
export function metroRoutes({ values, bodies }: ProtocolParts): HttpRoutes {
  const results = values("metro");
  const access = namedValueAccess("metro");
  const read = { ...access.read, whenShed: sendAbsence };
  return (router) => {
    router.route("GET", "/metro/:key", read, (exchange) =>
      absentIfUnavailable(exchange, () => sendValue(exchange, results, keyOf(exchange))),
    );
    router.route("PUT", "/metro/:key", access.write, async (exchange) => {
      const key = keyOf(exchange);
      await bodies.store(exchange, (options) => results.stage(key, options));
      sendStored(exchange);
    });
  };
}

function keyOf(exchange: HttpExchange): string {
  return nameIn(exchange, "key", KEY, "40 to 128 lower-case hex digits");
}
