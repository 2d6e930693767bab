import type { HttpExchange, HttpRoutes } from "../http-router.ts";
import { namedValueAccess } from "../route-access.ts";
import { nameIn, sendStored, sendValue } from "../value-exchange.ts";
import type { ProtocolParts } from "./protocol-parts.ts";

/** Lower-case hex, or letters and digits of base 32. */
const NAME = /^[0-9a-z]{20,128}$/;
const PATHS = ["/ccache/:name", "/ccache/:directory(^[0-9a-z]{2}$)/:name"];

/**
 * ccache's HTTP storage at `/ccache/`: `{name}` in its layout flat, `{directory}/{name}` in its layouts subdirs and
 * bazel, whose directory is `ac`. At another prefix the layout bazel is served as Bazel's own `/ac/` is.
 */
export function ccacheRoutes({ values, bodies }: ProtocolParts): HttpRoutes {
  const results = values("ccache");
  const access = namedValueAccess("ccache");
  const send = (exchange: HttpExchange): Promise<void> => sendValue(exchange, results, pathOf(exchange));
  const store = async (exchange: HttpExchange): Promise<void> => {
    const path = pathOf(exchange);
    await bodies.store(exchange, (options) => results.stage(path, options));
    sendStored(exchange);
  };
  return (router) => {
    for (const path of PATHS) {
      router.route("GET", path, access.read, send);
      router.route("PUT", path, access.write, store);
    }
  };
}

function pathOf(exchange: HttpExchange): string {
  const name = nameIn(exchange, "name", NAME, "20 to 128 lower-case letters and digits");
  const { directory } = exchange.params;
  return directory === undefined ? name : `${directory}/${name}`;
}
