import { CacheError } from "../../cache/cache-error.ts";
import type { ValueStore } from "../../cache/value-store.ts";
import { type HttpExchange, type HttpRoutes } from "../http-router.ts";
import { namedValueAccess } from "../route-access.ts";
import type { RequestBodies } from "../request-body.ts";
import { requestQuery } from "../request-query.ts";
import { nameIn, sendValue } from "../value-exchange.ts";
import type { ProtocolParts } from "./protocol-parts.ts";

const ARTIFACTS = "/xcode/api/cache/cas/:id";
const ENTRIES = "/xcode/api/cache/keyvalue";
const ID = /^[!-~]{1,512}$/;
const ENTRIES_BYTES_MAX = 1024 * 1024;

/** Either pair of parameters says whose cache it is. */
const SCOPES = [
  ["tenant_id", "namespace_id"],
  ["account_handle", "project_handle"],
] as const;

/**
 * The compilation cache of Xcode, as a proxy beside the build speaks it: artifacts by the identifiers that the compiler
 * has given them, and under the key of a compilation the identifiers of what came of it. An identifier is not the hash of
 * what is sent, so that artifacts are kept as given. What projects store is kept apart.
 */
export function xcodeRoutes({ values, bodies }: ProtocolParts): HttpRoutes {
  const protocol = new XcodeProtocol(values("xcode"), bodies);
  const access = namedValueAccess("xcode");
  return (router) => {
    router.route("GET", ARTIFACTS, access.read, (exchange) => protocol.sendArtifact(exchange));
    for (const method of ["POST", "PUT"] as const) {
      router.route(method, ARTIFACTS, access.write, (exchange) => protocol.storeArtifact(exchange));
    }
    router.route("GET", `${ENTRIES}/:id`, access.read, (exchange) => protocol.sendEntries(exchange));
    router.route("PUT", ENTRIES, access.write, (exchange) => protocol.storeEntries(exchange));
  };
}

/** What is stored under a key, as the protocol has it. */
interface KeyEntries {
  readonly cas_id: string;
  readonly entries: readonly { readonly value: string }[];
}

class XcodeProtocol {
  readonly #values: ValueStore;
  readonly #bodies: RequestBodies;

  constructor(values: ValueStore, bodies: RequestBodies) {
    this.#values = values;
    this.#bodies = bodies;
  }

  async sendArtifact(exchange: HttpExchange): Promise<void> {
    await sendValue(exchange, this.#values, nameOf(exchange, "cas", idIn(exchange)));
  }

  async storeArtifact(exchange: HttpExchange): Promise<void> {
    const name = nameOf(exchange, "cas", idIn(exchange));
    await this.#bodies.store(exchange, (options) => this.#values.stage(name, options));
    exchange.response.writeHead(204).end();
  }

  async sendEntries(exchange: HttpExchange): Promise<void> {
    const name = nameOf(exchange, "keyvalue", idIn(exchange));
    await sendValue(exchange, this.#values, name, { "content-type": "application/json" });
  }

  async storeEntries(exchange: HttpExchange): Promise<void> {
    const body = await this.#bodies.bytes(exchange, ENTRIES_BYTES_MAX);
    const { cas_id: id, entries } = parseEntries(body);
    const name = nameOf(exchange, "keyvalue", id);
    const answer = Buffer.from(JSON.stringify({ entries: entries.map(({ value }) => ({ value })) }));
    const staged = await this.#values.stage(name, { sizeBytes: answer.length });
    try {
      await staged.write(answer);
      await staged.commit();
    } catch (error) {
      await staged.discard();
      throw error;
    }
    exchange.response.writeHead(204).end();
  }
}

function idIn(exchange: HttpExchange): string {
  return nameIn(exchange, "id", ID, "1 to 512 visible ASCII characters");
}

function nameOf({ request }: HttpExchange, kind: "cas" | "keyvalue", id: string): string {
  const query = requestQuery(request);
  const [owner, project] = SCOPES.find(([name]) => query.has(name)) ?? SCOPES[0];
  return JSON.stringify([kind, query.get(owner) ?? "", query.get(project) ?? "", id]);
}

/** @throws {CacheError} invalid_argument */
function parseEntries(body: Buffer): KeyEntries {
  const parsed = parseJson(body);
  if (isKeyEntries(parsed)) return parsed;
  throw new CacheError(
    "invalid_argument",
    'body: expected JSON as {"cas_id": "...", "entries": [{"value": "..."}, ...]}',
  );
}

function isKeyEntries(parsed: unknown): parsed is KeyEntries {
  const { cas_id: id, entries } = (parsed ?? {}) as Partial<Record<keyof KeyEntries, unknown>>;
  return typeof id === "string" && ID.test(id) && Array.isArray(entries) && entries.every(isEntry);
}

function isEntry(entry: unknown): boolean {
  return typeof (entry as { value?: unknown } | null)?.value === "string";
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}
