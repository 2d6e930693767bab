import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { CacheError, shedReasonOf } from "../cache/cache-error.ts";
import { OutputBudget } from "../http2/output-budget.ts";
import { type LoopTurns, sendTurns } from "../http2/loop-turns.ts";
import type { Metrics } from "../observability/metrics.ts";
import type { ObservedRequest, RequestObserver } from "../observability/request-observer.ts";
import { RequestTally } from "../observability/request-tally.ts";
import { limitUntaken } from "./content-response.ts";
import { type FaultReporter, HTTP_STATUS, toHttpFailure } from "./http-status.ts";
import { type HttpExchange, type HttpProtocols, HttpRouter, type ResponseOutput, sendText } from "./http-router.ts";
import { ObservedExchange } from "./observed-exchange.ts";
import type { RouteGuards } from "./route-access.ts";

export interface HttpServerLimits {
  /** From the first byte of a request to the end of its headers; past it 408. */
  readonly headersTimeoutMs: number;
  /** A connection without a request is closed after this. Longer than the 60 s of common load balancers. */
  readonly keepAliveTimeoutMs: number;
  /** A connection on which nothing moves in either direction is closed after this. */
  readonly idleTimeoutMs: number;
  /** See {@link ResponseOutput.stallMsMax}. */
  readonly sendStallTimeoutMs: number;
  /** Request line and headers; past it 431. */
  readonly headerBytesMax: number;
  /** The body of a request that was refused is read and dropped for so long, then the connection is closed. */
  readonly refusedBodyMsMax: number;
}

const DEFAULT_LIMITS: HttpServerLimits = {
  headersTimeoutMs: 10_000,
  keepAliveTimeoutMs: 65_000,
  idleTimeoutMs: 120_000,
  sendStallTimeoutMs: 60_000,
  headerBytesMax: 16 * 1024,
  refusedBodyMsMax: 10_000,
};

/** An exchange from its first moment on. */
interface RoutedExchange extends HttpExchange {
  params: HttpExchange["params"];
  /** Label of its metrics. */
  protocol: string;
}

const NO_PARAMS: HttpExchange["params"] = {};

export interface HttpServerOptions extends RouteGuards {
  /** What is there from the start; the others are added by {@link HttpServer.serve}. */
  readonly protocols: HttpProtocols;
  readonly reportFault: (...fault: [...Parameters<FaultReporter>, ObservedRequest]) => void;
  readonly observe?: RequestObserver | undefined;
  readonly metrics: Metrics;
  readonly limits?: Partial<HttpServerLimits>;
  /** Bounds what waits for all clients together. Default: two pieces of each value. */
  readonly outputBudget?: OutputBudget;
  /** Where others send in this thread, too. */
  readonly turns?: LoopTurns;
}

/** HTTP/1.1 on connections that somebody else accepted. */
export class HttpServer {
  readonly #server: Server;
  readonly #router: HttpRouter;
  readonly #reportFault: HttpServerOptions["reportFault"];
  readonly #observe: RequestObserver | undefined;
  readonly #metrics: Metrics;
  readonly #tally: RequestTally;
  readonly #refusedBodyMsMax: number;
  readonly #output: ResponseOutput;
  readonly #inFlight = new Set<ServerResponse>();
  #isServing = false;
  #isDraining = false;

  constructor(options: HttpServerOptions) {
    const { protocols, reportFault, observe, metrics, limits, ...others } = options;
    const { outputBudget = new OutputBudget(Number.POSITIVE_INFINITY), turns = sendTurns(), ...guards } = others;
    this.#router = new HttpRouter(guards);
    this.#reportFault = reportFault;
    this.#observe = observe;
    this.#metrics = metrics;
    this.#tally = new RequestTally(metrics);
    this.#router.addProtocols(protocols);
    const effective = { ...DEFAULT_LIMITS, ...limits };
    const { headersTimeoutMs, keepAliveTimeoutMs, idleTimeoutMs, headerBytesMax } = effective;
    this.#refusedBodyMsMax = effective.refusedBodyMsMax;
    this.#output = { budget: outputBudget, turns, stallMsMax: effective.sendStallTimeoutMs };
    this.#server = createServer(
      {
        headersTimeout: headersTimeoutMs,
        // Bodies may take as long as they make progress, which the idle timeout sees to.
        requestTimeout: 0,
        keepAliveTimeout: keepAliveTimeoutMs,
        connectionsCheckingInterval: Math.min(1000, headersTimeoutMs),
        maxHeaderSize: headerBytesMax,
      },
      (request, response) => void this.#answer(request, response, false),
    );
    this.#server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
      void this.#answer(request, response, true);
    });
    this.#server.timeout = idleTimeoutMs;
    // Node arms the check for slow headers when a server starts to listen, which this one never does itself.
    this.#server.emit("listening");
  }

  /** From now on these are there too. Until then a path that nothing is at may be one of theirs, and the answer is 503. */
  serve(protocols: HttpProtocols): void {
    this.#router.addProtocols(protocols);
    this.#isServing = true;
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

  async #answer(request: IncomingMessage, response: ServerResponse, awaitsContinue: boolean): Promise<void> {
    this.#inFlight.add(response);
    const startedMs = performance.now();
    const [params, output] = [NO_PARAMS, this.#output];
    const exchange: RoutedExchange = { request, response, params, awaitsContinue, output, protocol: "none" };
    const ended = this.#observe?.(new ObservedExchange(exchange));
    response.once("close", () => {
      this.#inFlight.delete(response);
      const status = response.headersSent ? response.statusCode : HTTP_STATUS.cancelled;
      const durationMs = performance.now() - startedMs;
      this.#tally.count(exchange.protocol, knownMethod(request), status, durationMs);
      if (exchange.shedBy !== undefined) this.#metrics.countShed("http", exchange.shedBy);
      ended?.({ statusCode: status, status: String(status), isServerFault: status >= 500, durationMs });
      if (this.#isDraining) request.socket.destroySoon();
    });
    try {
      await this.#handle(exchange);
    } catch (error) {
      this.#fail(error, exchange);
    }
    if (!request.complete && hasBody(request)) this.#dropBody(request);
    if (response.writableEnded && response.writableLength > 0) limitUntaken(response, this.#output);
  }

  async #handle(exchange: RoutedExchange): Promise<void> {
    const { method = "", url = "" } = exchange.request;
    if (this.#isDraining) throw new CacheError("unavailable", "the server is draining");
    const match = this.#router.match(method, url);
    if (match === undefined) return this.#refuse(method, url, exchange.response);
    exchange.protocol = match.protocol;
    exchange.params = match.params;
    await match.handler(exchange);
  }

  /** Nothing is at the path, or not for this method. */
  #refuse(method: string, url: string, response: ServerResponse): void {
    const allowed = this.#router.methodsAt(url);
    if (allowed.length > 0) {
      response.setHeader("allow", allowed.join(", "));
      sendText(response, 405, `method: expected one of ${allowed.join(", ")}, got ${method}\n`);
      return;
    }
    if (!this.#isServing) throw new CacheError("unavailable", "the store is being opened");
    throw new CacheError("not_found", `path: nothing is at ${JSON.stringify(url)}`);
  }

  #fail(error: unknown, exchange: RoutedExchange): void {
    const { response, awaitsContinue } = exchange;
    exchange.shedBy = shedReasonOf(error);
    const { status, message, retryAfterSeconds } = toHttpFailure(error, (reference, cause) => {
      this.#reportFault(reference, cause, new ObservedExchange(exchange));
    });
    if (response.headersSent) {
      // Half an answer is out: only a broken connection tells the client that the rest will not come.
      response.destroy();
      return;
    }
    if (retryAfterSeconds !== undefined) response.setHeader("retry-after", retryAfterSeconds);
    // A client that waits to be told to go on, and one that has stopped, may or may not send the body now: what comes
    // next on the connection could be that or a request.
    if (this.#isDraining || awaitsContinue || status === HTTP_STATUS.deadline_exceeded) announceClose(response);
    sendText(response, status, `${message}\n`);
  }

  /** Clients that read the answer only when they have sent everything get it; those that never end do not stay. */
  #dropBody(request: IncomingMessage): void {
    const timer = setTimeout(() => request.socket.destroy(), this.#refusedBodyMsMax).unref();
    for (const event of ["end", "close"]) request.once(event, () => clearTimeout(timer));
    request.resume();
  }
}

function announceClose(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader("connection", "close");
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
}

/** Clients may send any word as a method; as a label only those that the server has routes for may appear. */
function knownMethod({ method = "" }: IncomingMessage): string {
  return ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PROPFIND", "MKCOL"].includes(method) ? method : "other";
}
