import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import { CacheError } from "../../cache/cache-error.ts";
import { type Description, DescribedValueStore } from "../../cache/described-value-store.ts";
import { sendContent } from "../content-response.ts";
import { type HttpExchange, type HttpRoutes, sendJson } from "../http-router.ts";
import { namedValueAccess, OPEN } from "../route-access.ts";
import type { RequestBodies } from "../request-body.ts";
import { requestQuery } from "../request-query.ts";
import { nameIn, sendHead, sendStored } from "../value-exchange.ts";
import type { ProtocolParts } from "./protocol-parts.ts";

/** From the root, as Turborepo has them, and under a prefix of their own. */
const BASES = ["/v8/artifacts", "/turbo/v8/artifacts"];
const HASH = /^[0-9a-f]{8,128}$/;

const DURATION = "x-artifact-duration";
const TAG = "x-artifact-tag";
/** Kept with an artifact and given back: time to make it, signature, and the commit that it was made from. */
const KEPT_HEADERS = [DURATION, TAG, "x-artifact-sha", "x-artifact-dirty-hash"];
const DURATION_MS = /^\d{1,15}$/;

/** A query names some hashes; of a few thousand digits are enough. */
const QUERY_BYTES_MAX = 64 * 1024;
/** Two events a task, of about 130 bytes each; more tasks than any repository has. */
const EVENTS_BYTES_MAX = 64 * 1024 * 1024;

const OCTET_STREAM = "application/octet-stream";
/** A client that asks first leaves its token out unless it is told that it may send it. */
const PREFLIGHT_HEADERS: OutgoingHttpHeaders = {
  "access-control-allow-headers": ["Authorization", "Content-Type", "User-Agent", ...KEPT_HEADERS].join(", "),
  "access-control-allow-methods": "GET, HEAD, PUT, POST, OPTIONS",
};

/** Turborepo's artifacts API, version 8. What teams store is kept apart. */
export function turborepoRoutes({ values, bodies }: ProtocolParts): HttpRoutes {
  const protocol = new TurborepoProtocol(new DescribedValueStore(values("turborepo")), bodies);
  const access = namedValueAccess("turborepo");
  return (router) => {
    for (const base of BASES) {
      router.route("GET", `${base}/status`, access.read, ({ response }) =>
        sendJson(response, 200, { status: "enabled" }),
      );
      router.route("POST", `${base}/events`, access.read, (exchange) => protocol.takeEvents(exchange));
      router.route("POST", base, access.read, (exchange) => protocol.describeArtifacts(exchange));
      router.route("GET", `${base}/:hash`, access.read, (exchange) => protocol.sendArtifact(exchange));
      router.route("PUT", `${base}/:hash`, access.write, (exchange) => protocol.storeArtifact(exchange));
      for (const path of [base, `${base}/status`, `${base}/events`, `${base}/:hash`]) {
        router.route("OPTIONS", path, OPEN, ({ response }) => void response.writeHead(204, PREFLIGHT_HEADERS).end());
      }
    }
  };
}

/** What is known of an artifact, as the answer to a query has it. */
interface ArtifactInfo {
  readonly size: number;
  readonly taskDurationMs: number;
  readonly tag?: string;
}

class TurborepoProtocol {
  readonly #artifacts: DescribedValueStore;
  readonly #bodies: RequestBodies;

  constructor(artifacts: DescribedValueStore, bodies: RequestBodies) {
    this.#artifacts = artifacts;
    this.#bodies = bodies;
  }

  async sendArtifact(exchange: HttpExchange): Promise<void> {
    const hash = hashIn(exchange);
    const name = artifactName(exchange, hash);
    if (exchange.request.method === "HEAD") {
      const found = await this.#artifacts.describe(name);
      if (found === undefined) throw absent(hash);
      return sendHead(exchange, found.sizeBytes, { ...found.description, "content-type": OCTET_STREAM });
    }
    const found = await this.#artifacts.get(name);
    if (found === undefined) throw absent(hash);
    const headers = { ...found.description, "content-type": OCTET_STREAM };
    await sendContent(exchange, found.content, undefined, headers);
  }

  async storeArtifact(exchange: HttpExchange): Promise<void> {
    const name = artifactName(exchange, hashIn(exchange));
    const description = keptHeaders(exchange.request.headers);
    await this.#bodies.store(exchange, (options) => this.#artifacts.stage(name, description, options));
    sendStored(exchange);
  }

  /** For each hash what is known of the artifact, and null where there is none. */
  async describeArtifacts(exchange: HttpExchange): Promise<void> {
    const hashes = queriedHashes(await this.#bodies.bytes(exchange, QUERY_BYTES_MAX));
    const answer: Record<string, ArtifactInfo | null> = {};
    for (const hash of hashes) {
      const found = await this.#artifacts.describe(artifactName(exchange, hash));
      answer[hash] = found === undefined ? null : artifactInfo(found.description, found.sizeBytes);
    }
    sendJson(exchange.response, 200, answer);
  }

  /** Hits and misses as the client counts them. Nobody asks for them here: the server's own are in its metrics. */
  async takeEvents(exchange: HttpExchange): Promise<void> {
    await this.#bodies.read(exchange, () => undefined, EVENTS_BYTES_MAX);
    sendStored(exchange);
  }
}

function hashIn(exchange: HttpExchange): string {
  return nameIn(exchange, "hash", HASH, "8 to 128 lower-case hex digits");
}

/** A client that names its team by identifier and by slug means the same team: the identifier counts. */
function artifactName({ request }: HttpExchange, hash: string): string {
  const query = requestQuery(request);
  return JSON.stringify([query.get("teamId") ?? "", query.get("teamId") ? "" : (query.get("slug") ?? ""), hash]);
}

/** @throws {CacheError} invalid_argument where the duration is no number of milliseconds. */
function keptHeaders(headers: IncomingHttpHeaders): Description {
  const kept = KEPT_HEADERS.flatMap((name) => {
    const value = headers[name];
    return typeof value === "string" ? [[name, value] as const] : [];
  });
  const description: Description = Object.fromEntries(kept);
  const duration = description[DURATION];
  if (duration === undefined || DURATION_MS.test(duration)) return description;
  throw new CacheError("invalid_argument", `${DURATION}: expected milliseconds, got ${JSON.stringify(duration)}`);
}

function artifactInfo(description: Description, size: number): ArtifactInfo {
  const tag = description[TAG];
  return { size, taskDurationMs: Number(description[DURATION] ?? 0), ...(tag !== undefined && { tag }) };
}

/** @throws {CacheError} invalid_argument */
function queriedHashes(body: Buffer): readonly string[] {
  const hashes = hashesIn(body);
  if (Array.isArray(hashes) && hashes.every((hash) => typeof hash === "string" && HASH.test(hash))) return hashes;
  throw new CacheError("invalid_argument", 'body: expected JSON as {"hashes": ["0123456789abcdef", ...]}');
}

function hashesIn(body: Buffer): unknown {
  try {
    return (JSON.parse(body.toString()) as { hashes?: unknown } | null)?.hashes;
  } catch {
    return undefined;
  }
}

function absent(hash: string): CacheError {
  return new CacheError("not_found", `artifact ${hash} is not in the cache`);
}
