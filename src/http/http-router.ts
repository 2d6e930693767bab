import type { IncomingMessage, ServerResponse } from "node:http";
import createRouter, { type HTTPMethod } from "find-my-way";
import { CacheError, type ShedReason } from "../cache/cache-error.ts";
import type { OutputBudget } from "../http2/output-budget.ts";
import type { LoopTurns } from "../http2/loop-turns.ts";
import { guarded, type RouteAccess, type RouteGuards } from "./route-access.ts";

/** What bounds a response that its client does not take. */
export interface ResponseOutput {
  /** Of all connections. */
  readonly budget: OutputBudget;
  /** Of the thread. */
  readonly turns: LoopTurns;
  /** A client that has not taken a piece after so long is given up. */
  readonly stallMsMax: number;
}

/** One request with what its path matched. */
export interface HttpExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Decoded path parameters by name. */
  readonly params: Readonly<Record<string, string | undefined>>;
  /** The client sends the body only once it is told to go on, see `request-body.ts`. */
  awaitsContinue: boolean;
  readonly output: ResponseOutput;
  /** Who was let in, for logs. */
  callerName?: string | undefined;
  /** Why there was no room for it, whatever it was answered. */
  shedBy?: ShedReason | undefined;
}

/** Answers a request. What it throws before the headers are out becomes the answer, see `http-status.ts`. */
export type HttpHandler = (exchange: HttpExchange) => Promise<void> | void;

/** Adds the routes of one protocol. */
export type HttpRoutes = (router: HttpRouter) => void;

/** Routes by the name of their protocol, which is a label of metrics. */
export type HttpProtocols = Readonly<Record<string, HttpRoutes>>;

/** Who answers a request. */
export interface RouteMatch {
  readonly protocol: string;
  readonly handler: HttpHandler;
  readonly params: HttpExchange["params"];
}

interface Route {
  readonly protocol: string;
  readonly handler: HttpHandler;
}

/** Names, not paths: the longest is a hash of 512 bits in hexadecimal digits, or what a tool has made up. */
const PARAMETER_CHARACTERS_MAX = 512;

type RouteTree = ReturnType<typeof createTree>;

/** Paths to handlers. Anything that serves HTTP/1.1 registers here, by a function of the type {@link HttpRoutes}. */
export class HttpRouter {
  readonly #guards: RouteGuards;
  readonly #methods = new Set<HTTPMethod>();
  readonly #router = createTree();
  /** By their last two segments. */
  readonly #endings = createTree();
  #protocol = "";

  constructor(guards: RouteGuards = {}) {
    this.#guards = guards;
  }

  addProtocols(protocols: HttpProtocols): void {
    for (const [protocol, addRoutes] of Object.entries(protocols)) {
      this.#protocol = protocol;
      addRoutes(this);
    }
  }

  /** @param path as find-my-way has it: `/cas/:hash`, `/files/*`. GET takes HEAD too: Node sends no body for it. */
  route(method: HTTPMethod, path: string, access: RouteAccess, handler: HttpHandler): void {
    this.#add(this.#router, method, path, access, handler);
  }

  /**
   * For paths that have any number of segments before the ones that count. Routes of the other kind go first.
   * @param ending Two segments, such as `/cas/:hash`. What is before them, without a slash at either end, is the
   * parameter `prefix`.
   */
  routeEnding(method: HTTPMethod, ending: string, access: RouteAccess, handler: HttpHandler): void {
    this.#add(this.#endings, method, ending, access, handler);
  }

  /** @throws {CacheError} invalid_argument where the path is not valid percent-encoding. */
  match(method: string, url: string): RouteMatch | undefined {
    const found = findIn(this.#router, method, url);
    if (found !== undefined) return found;
    const { prefix, ending } = splitEnding(url);
    const foundEnding = prefix === undefined ? undefined : findIn(this.#endings, method, ending);
    if (foundEnding === undefined || prefix === undefined) return undefined;
    return { ...foundEnding, params: { ...foundEnding.params, prefix: decodePath(prefix) } };
  }

  /** The methods that the path is there for; none: there is nothing at it. */
  methodsAt(url: string): string[] {
    return [...this.#methods].filter((method) => this.match(method, url) !== undefined);
  }

  #add(tree: RouteTree, method: HTTPMethod, path: string, access: RouteAccess, answer: HttpHandler): void {
    const handler = guarded(answer, access, this.#guards);
    for (const name of method === "GET" ? (["GET", "HEAD"] as const) : [method]) {
      this.#methods.add(name);
      // The route itself is what is found: find-my-way wants a handler, and nobody calls it.
      tree.on(name, path, () => undefined, { protocol: this.#protocol, handler } satisfies Route);
    }
  }
}

function createTree() {
  return createRouter({ maxParamLength: PARAMETER_CHARACTERS_MAX, onBadUrl: () => undefined });
}

function findIn(tree: RouteTree, method: string, url: string): RouteMatch | undefined {
  const found = tree.find(method as HTTPMethod, url);
  if (found === null) return undefined;
  const route = found.store as Route | null;
  // What stands for a path that cannot be decoded has no route.
  if (route === null) return refuseEncoding(url);
  return { protocol: route.protocol, handler: route.handler, params: found.params };
}

/** @returns no prefix where the path has fewer than two segments, or one before them that is empty. */
function splitEnding(url: string): { prefix: string | undefined; ending: string } {
  const queryStart = url.indexOf("?");
  const path = queryStart === -1 ? url : url.slice(0, queryStart);
  const endingStart = path.lastIndexOf("/", path.lastIndexOf("/") - 1);
  if (endingStart === 0) return { prefix: "", ending: path };
  const hasPrefix = endingStart > 1 && path.startsWith("/") && path[1] !== "/";
  return { prefix: hasPrefix ? path.slice(1, endingStart) : undefined, ending: path.slice(endingStart) };
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return refuseEncoding(path);
  }
}

function refuseEncoding(path: string): never {
  throw new CacheError("invalid_argument", `path: expected valid percent-encoding, got ${JSON.stringify(path)}`);
}

export function sendText(
  response: ServerResponse,
  status: number,
  body: string,
  contentType = "text/plain; charset=utf-8",
): void {
  response.writeHead(status, {
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    // Messages quote what clients have sent: a browser is not to look for a page in them.
    "x-content-type-options": "nosniff",
  });
  response.end(body);
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  sendText(response, status, `${JSON.stringify(body, null, 2)}\n`, "application/json");
}
