import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Metrics } from "../observability/metrics.ts";
import { type FaultReporter, toHttpFailure } from "./http-status.ts";
import { HttpRouter, type HttpRoutes, sendText } from "./http-router.ts";

export interface HttpServerLimits {
  /** From the first byte of a request to the end of its headers; past it 408. */
  readonly headersTimeoutMs: number;
  /** A connection without a request is closed after this. Longer than the 60 s of common load balancers. */
  readonly keepAliveTimeoutMs: number;
  /** A connection on which nothing moves in either direction is closed after this. */
  readonly idleTimeoutMs: number;
  /** Request line and headers; past it 431. */
  readonly headerBytesMax: number;
}

const DEFAULT_LIMITS: HttpServerLimits = {
  headersTimeoutMs: 10_000,
  keepAliveTimeoutMs: 65_000,
  idleTimeoutMs: 120_000,
  headerBytesMax: 16 * 1024,
};

export interface HttpServerOptions {
  readonly routes: readonly HttpRoutes[];
  readonly reportFault: FaultReporter;
  readonly metrics: Metrics;
  readonly limits?: Partial<HttpServerLimits>;
}

/** HTTP/1.1 on connections that somebody else accepted. */
export class HttpServer {
  readonly #server: Server;
  readonly #router = new HttpRouter();
  readonly #reportFault: FaultReporter;
  readonly #metrics: Metrics;
  readonly #inFlight = new Set<ServerResponse>();
  #isDraining = false;

  constructor({ routes, reportFault, metrics, limits }: HttpServerOptions) {
    this.#reportFault = reportFault;
    this.#metrics = metrics;
    for (const addRoutes of routes) addRoutes(this.#router);
    const { headersTimeoutMs, keepAliveTimeoutMs, idleTimeoutMs, headerBytesMax } = { ...DEFAULT_LIMITS, ...limits };
    this.#server = createServer(
      {
        headersTimeout: headersTimeoutMs,
        // Bodies may take as long as they make progress, which the idle timeout sees to.
        requestTimeout: 0,
        keepAliveTimeout: keepAliveTimeoutMs,
        connectionsCheckingInterval: Math.min(1000, headersTimeoutMs),
        maxHeaderSize: headerBytesMax,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.timeout = idleTimeoutMs;
    // Node arms the check for slow headers when a server starts to listen, which this one never does itself.
    this.#server.emit("listening");
  }

  /** Takes over a connection whose bytes are still unread. */
  accept(socket: Socket): void {
    if (this.#isDraining) socket.destroy();
    else this.#server.emit("connection", socket);
  }

  /** From now on every connection is closed after the answer that it is waiting for, and at once if it waits for none. */
  drain(): void {
    this.#isDraining = true;
    for (const response of this.#inFlight) announceClose(response);
    this.#server.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#inFlight.add(response);
    if (this.#isDraining) announceClose(response);
    response.once("close", () => {
      this.#inFlight.delete(response);
      this.#metrics.instruments.httpRequests.inc({ method: knownMethod(request), status: response.statusCode });
      if (this.#isDraining) request.socket.destroySoon();
    });
    try {
      await this.#router.handle(request, response);
    } catch (error) {
      this.#fail(error, response);
    }
  }

  #fail(error: unknown, response: ServerResponse): void {
    const { status, message, retryAfterSeconds } = toHttpFailure(error, this.#reportFault);
    if (response.headersSent) {
      // Half an answer is out: only a broken connection tells the client that the rest will not come.
      response.destroy();
      return;
    }
    if (retryAfterSeconds !== undefined) response.setHeader("retry-after", retryAfterSeconds);
    sendText(response, status, `${message}\n`);
  }
}

function announceClose(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader("connection", "close");
}

/** Clients may send any word as a method; as a label only those that the server has routes for may appear. */
function knownMethod({ method = "" }: IncomingMessage): string {
  return ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PROPFIND", "MKCOL"].includes(method) ? method : "other";
}
