import { CacheError, type CacheErrorCode, shedReasonOf } from "../../cache/cache-error.ts";
import { type HttpExchange, type HttpRoutes, sendText } from "../http-router.ts";
import { namedValueAccess } from "../route-access.ts";
import { absentIfUnavailable, nameIn, sendAbsence, sendStored, sendValue } from "../value-exchange.ts";
import type { ProtocolParts } from "./protocol-parts.ts";

const KEY = /^[0-9A-Za-z_-]{1,128}$/;
/** From the root, as Nx has them, and under a prefix of their own. */
const PATHS = ["/v1/cache/:key", "/nx/v1/cache/:key"];
/** Why an upload may be refused by no fault of the client. */
const REFUSALS: readonly CacheErrorCode[] = ["resource_exhausted", "storage_full", "too_large", "unavailable"];

/**
 * Nx's self-hosted remote cache. A GET that is answered by anything but 200 and 404 fails the build, and so does a PUT
 * by anything but 200, 403 and 409: an upload that cannot be taken is forbidden, so that the build goes on without.
 */
export function nxRoutes({ values, bodies }: ProtocolParts): HttpRoutes {
  const artifacts = values("nx");
  const access = namedValueAccess("nx");
  const read = { ...access.read, whenShed: sendAbsence };
  const write = {
    ...access.write,
    whenShed: ({ response }: HttpExchange): void => sendText(response, 403, "too many requests\n"),
  };
  const send = (exchange: HttpExchange): Promise<void> =>
    absentIfUnavailable(exchange, () => sendValue(exchange, artifacts, keyOf(exchange)));
  const store = async (exchange: HttpExchange): Promise<void> => {
    const key = keyOf(exchange);
    try {
      await bodies.store(exchange, (options) => artifacts.stage(key, options));
    } catch (error) {
      if (!(error instanceof CacheError) || !REFUSALS.includes(error.code)) throw error;
      exchange.shedBy = shedReasonOf(error);
      return sendText(exchange.response, 403, `${error.message}\n`);
    }
    sendStored(exchange);
  };
  return (router) => {
    for (const path of PATHS) {
      router.route("GET", path, read, send);
      router.route("PUT", path, write, store);
    }
  };
}

function keyOf(exchange: HttpExchange): string {
  return nameIn(exchange, "key", KEY, "1 to 128 letters, digits, _ or -");
}
