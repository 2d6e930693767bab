import type { Authorizer } from "../auth/authorizer.ts";
import { clientCertificateOf } from "../auth/client-certificate.ts";
import type { Role } from "../auth/role.ts";
import type { RequestRates } from "../auth/request-rates.ts";
import { CacheError, shedReasonOf } from "../cache/cache-error.ts";
import type { HttpExchange, HttpHandler } from "./http-router.ts";

/** What a caller needs in order to be answered at a route. No route is without one. */
export interface RouteAccess {
  /** `none`: anybody is answered. */
  readonly role: Role;
  /** The instance that the request is for; left out: it concerns none. */
  readonly instanceOf?: (exchange: HttpExchange) => string;
  /** What operators ask for is answered however much they have asked before. */
  readonly isUncounted?: boolean;
  /** Answers instead of 429, for tools that do not take that. */
  readonly whenShed?: (exchange: HttpExchange) => void;
}

/** Who judges requests before they are answered. */
export interface RouteGuards {
  /** Left out: everybody may do everything. */
  readonly authorizer?: Authorizer | undefined;
  /** Left out: as often as they like. */
  readonly rates?: RequestRates | undefined;
}

export const OPEN: RouteAccess = { role: "none" };

/** The routes of a protocol whose names are believed: whoever stores a value decides what others are given for it. */
export function namedValueAccess(instanceName: string): { readonly read: RouteAccess; readonly write: RouteAccess } {
  const instanceOf = (): string => instanceName;
  return { read: { role: "reader", instanceOf }, write: { role: "ac-writer", instanceOf } };
}

/** The schemes that a client may answer a 401 with (RFC 9110, section 11.6.1). */
const CHALLENGES = ['Basic realm="kura", charset="UTF-8"', 'Bearer realm="kura"'];

/** The same handler for callers who are let in: nothing of the body is read before. */
export function guarded(handler: HttpHandler, access: RouteAccess, { authorizer, rates }: RouteGuards): HttpHandler {
  const { role, isUncounted, whenShed } = access;
  if (role === "none" || (authorizer === undefined && rates === undefined)) return handler;
  return async (exchange) => {
    try {
      if (authorizer !== undefined) await admit(exchange, access, authorizer);
      if (isUncounted !== true) rates?.count(exchange.callerName, exchange.request.socket.remoteAddress ?? "");
    } catch (error) {
      exchange.shedBy = shedReasonOf(error);
      if (exchange.shedBy === undefined || whenShed === undefined) throw error;
      return whenShed(exchange);
    }
    await handler(exchange);
  };
}

async function admit(exchange: HttpExchange, access: RouteAccess, authorizer: Authorizer): Promise<void> {
  const { request, response } = exchange;
  const { socket, headers } = request;
  try {
    const caller = await authorizer.admit(access.role, access.instanceOf?.(exchange), {
      authorization: headers.authorization,
      certificate: clientCertificateOf(socket),
      peer: `${socket.remoteAddress ?? ""}:${socket.remotePort ?? ""}`,
    });
    exchange.callerName = caller.name;
  } catch (error) {
    if (error instanceof CacheError && error.code === "unauthenticated") {
      response.setHeader("www-authenticate", CHALLENGES);
    }
    throw error;
  }
}
