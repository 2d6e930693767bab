import type { IncomingMessage, ServerResponse } from "node:http";
import createRouter, { type HTTPMethod } from "find-my-way";
import { CacheError } from "../cache/cache-error.ts";

/** One request with what its path matched. */
export interface HttpExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Decoded path parameters by name. */
  readonly params: Readonly<Record<string, string | undefined>>;
}

/** Answers a request. What it throws before the headers are out becomes the answer, see `http-status.ts`. */
export type HttpHandler = (exchange: HttpExchange) => Promise<void> | void;

/** Adds the routes of one protocol. */
export type HttpRoutes = (router: HttpRouter) => void;

/** Paths to handlers. Anything that serves HTTP/1.1 registers here, by a function of the type {@link HttpRoutes}. */
export class HttpRouter {
  readonly #methods = new Set<HTTPMethod>();
  readonly #router = createRouter({
    onBadUrl: (path) => {
      throw new CacheError("invalid_argument", `path: expected valid percent-encoding, got ${JSON.stringify(path)}`);
    },
  });

  /** @param path as find-my-way has it: `/cas/:hash`, `/files/*`. GET takes HEAD too: Node sends no body for it. */
  route(method: HTTPMethod, path: string, handler: HttpHandler): void {
    for (const name of method === "GET" ? (["GET", "HEAD"] as const) : [method]) {
      this.#methods.add(name);
      this.#router.on(name, path, (request, response, params) => handler({ request, response, params }));
    }
  }

  /** @throws {CacheError} not_found or invalid_argument, or what the handler throws. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "" } = request;
    const found = this.#router.find(method as HTTPMethod, url);
    if (found !== null) {
      await found.handler(request, response, found.params, found.store, found.searchParams);
      return;
    }
    const allowed = [...this.#methods].filter((candidate) => this.#router.find(candidate, url) !== null);
    if (allowed.length === 0) throw new CacheError("not_found", `path: nothing is at ${JSON.stringify(url)}`);
    response.setHeader("allow", allowed.join(", "));
    sendText(response, 405, `method: expected one of ${allowed.join(", ")}, got ${method}\n`);
  }
}

export function sendText(
  response: ServerResponse,
  status: number,
  body: string,
  contentType = "text/plain; charset=utf-8",
): void {
  response.writeHead(status, { "content-type": contentType, "content-length": Buffer.byteLength(body) });
  response.end(body);
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  sendText(response, status, `${JSON.stringify(body, null, 2)}\n`, "application/json");
}
