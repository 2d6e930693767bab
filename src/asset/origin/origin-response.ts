import http, { type IncomingMessage } from "node:http";
import https from "node:https";
import { AssetFailure } from "../asset.ts";
import type { AddressGuard } from "./address-guard.ts";

/** An origin that may do better the next time. */
export class PassingFailure extends AssetFailure {
  /** When the origin wants to be asked again; undefined: it did not say. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { cause?: unknown; retryAfterMs?: number | undefined } = {}) {
    super("unavailable", message, options);
    this.retryAfterMs = options.retryAfterMs;
  }
}

export interface OriginGetOptions {
  readonly guard: AddressGuard;
  /** Sent to the origin of the URL itself, and not to another one that it redirects to. */
  readonly headers: Readonly<Record<string, string>>;
  readonly redirectsMax: number;
  /** Without a byte for this long, a connection counts as broken. */
  readonly idleMsMax: number;
  readonly signal: AbortSignal;
}

/** Content that begins to arrive. Whoever gets it reads it to the end or destroys `body`. */
export interface OriginResponse {
  readonly body: IncomingMessage;
  /** Undefined where the origin does not say. */
  readonly sizeBytes: number | undefined;
}

/** Connections are not kept: none that was opened for one request serves another. */
const AGENTS = { "http:": new http.Agent(), "https:": new https.Agent() } as const;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
const NOT_FOUND: ReadonlySet<number> = new Set([404, 410]);
const DENIED: ReadonlySet<number> = new Set([401, 403, 407, 451]);

export function isOriginUrl(uri: string): boolean {
  return URL.canParse(uri) && isFetched(new URL(uri));
}

/**
 * GET, along redirects, each of which is checked as the first URL was.
 * @throws {AssetFailure} and its {@link PassingFailure}; the reason of `signal`.
 */
export async function getFromOrigin(url: URL, options: OriginGetOptions): Promise<OriginResponse> {
  let target = url;
  for (let hop = 0; hop <= options.redirectsMax; hop++) {
    options.guard.checkLiteral(target.hostname);
    const headers = target.origin === url.origin ? options.headers : {};
    const response = await send(target, headers, options);
    const location = redirectOf(response);
    if (location === undefined) return checked(target, response);
    response.destroy();
    target = redirected(target, location);
  }
  throw new AssetFailure("aborted", `${shown(url)}: expected at most ${options.redirectsMax} redirects`);
}

function isFetched({ protocol }: URL): boolean {
  return Object.hasOwn(AGENTS, protocol);
}

function send(
  url: URL,
  headers: Readonly<Record<string, string>>,
  { guard, idleMsMax, signal }: OriginGetOptions,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const { request } = url.protocol === "https:" ? https : http;
  const agent = url.protocol === "https:" ? AGENTS["https:"] : AGENTS["http:"];
  const sent = request(url, {
    agent,
    lookup: guard.lookup,
    signal,
    // What is hashed is what was published, not what a server makes of it on the way.
    headers: { "user-agent": "kura", ...headers, "accept-encoding": "identity" },
  });
  sent.setTimeout(idleMsMax, () => {
    sent.destroy(new PassingFailure(`${shown(url)}: no byte came for ${idleMsMax} ms`));
  });
  sent.on("response", resolve);
  sent.on("error", (error) => reject(signal.aborted ? signal.reason : failureOf(url, error)));
  sent.end();
  return promise;
}

/** A problem of the connection, before or amid the content, as a failure of this URL. */
export function failureOf(url: URL, error: unknown): unknown {
  if (error instanceof AssetFailure) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const message = `${shown(url)}: ${code === "" ? "the connection failed" : code}`;
  if (code === "ENOTFOUND") return new AssetFailure("not_found", message, { cause: error });
  if (code.startsWith("ERR_TLS") || code.includes("CERT"))
    return new AssetFailure("aborted", message, { cause: error });
  return new PassingFailure(message, { cause: error });
}

function redirectOf({ statusCode = 0, headers }: IncomingMessage): string | undefined {
  return REDIRECTS.has(statusCode) ? headers.location : undefined;
}

function redirected(from: URL, location: string): URL {
  const target = URL.canParse(location, from.href) ? new URL(location, from.href) : undefined;
  if (target === undefined || !isFetched(target)) {
    throw new AssetFailure("permission_denied", `${shown(from)}: redirects to something else than http or https`);
  }
  if (from.protocol === "https:" && target.protocol === "http:") {
    throw new AssetFailure("permission_denied", `${shown(from)}: redirects from https to http`);
  }
  return target;
}

function checked(url: URL, body: IncomingMessage): OriginResponse {
  const problem = problemOf(url, body);
  if (problem !== undefined) {
    body.destroy();
    throw problem;
  }
  const length = body.headers["content-length"];
  return { body, sizeBytes: length === undefined ? undefined : Number(length) };
}

function problemOf(url: URL, { statusCode = 0, headers }: IncomingMessage): AssetFailure | undefined {
  const message = `${shown(url)}: status ${statusCode}`;
  if (PASSING.has(statusCode)) {
    return new PassingFailure(message, { retryAfterMs: retryAfterMs(headers["retry-after"]) });
  }
  if (NOT_FOUND.has(statusCode)) return new AssetFailure("not_found", message);
  if (DENIED.has(statusCode)) return new AssetFailure("permission_denied", message);
  if (statusCode !== 200) return new AssetFailure("aborted", `${message}, expected 200`);
  const encoding = headers["content-encoding"] ?? "identity";
  if (encoding === "identity") return undefined;
  return new AssetFailure("aborted", `${shown(url)}: expected the content as it is, got it as ${encoding}`);
}

/** Only seconds; a date would need a clock that agrees with the origin's. */
function retryAfterMs(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,6}$/.test(header) ? Number(header) * 1000 : undefined;
}

/** Without what may be secret: user, password and query. */
function shown({ origin, pathname }: URL): string {
  return `${origin}${pathname.length > 200 ? `${pathname.slice(0, 200)}...` : pathname}`;
}
