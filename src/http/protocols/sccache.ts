import { CacheError } from "../../cache/cache-error.ts";
import type { ValueStore } from "../../cache/value-store.ts";
import { type HttpExchange, type HttpRoutes, sendText } from "../http-router.ts";
import { namedValueAccess } from "../route-access.ts";
import { sendStored, sendValue } from "../value-exchange.ts";
import type { ProtocolParts } from "./protocol-parts.ts";

const BASE = "/sccache/";
const ALL = `${BASE}*`;
const NAME = /^(?!\.{1,2}$)[\w.-]+$/;
const PATH_CHARACTERS_MAX = 1024;

/** Values have no times; clients want to see one. */
const LAST_MODIFIED = "Thu, 01 Jan 1970 00:00:00 GMT";
const MULTI_STATUS = 207;

/**
 * As much of WebDAV (RFC 4918) at `/sccache/` as sccache has its storage library ask for. Only files are stored: a
 * collection is there whatever its path is, so that nobody has to make one before a file in it, and shows no members.
 */
export function sccacheRoutes({ values, bodies }: ProtocolParts): HttpRoutes {
  const files = values("sccache");
  const access = namedValueAccess("sccache");
  return (router) => {
    router.route("GET", ALL, access.read, (exchange) => sendValue(exchange, files, filePathIn(exchange)));
    router.route("PUT", ALL, access.write, async (exchange) => {
      const path = filePathIn(exchange);
      await bodies.store(exchange, (options) => files.stage(path, options));
      sendStored(exchange);
    });
    router.route("PROPFIND", ALL, access.read, (exchange) => {
      const body = multiStatus(placeIn(exchange), files);
      sendText(exchange.response, MULTI_STATUS, body, "application/xml; charset=utf-8");
    });
    router.route("MKCOL", ALL, access.write, (exchange) => {
      placeIn(exchange);
      exchange.response.writeHead(201, { "content-length": 0 }).end();
    });
    router.route("OPTIONS", ALL, access.read, ({ response }) => {
      response.writeHead(204, { dav: "1", allow: "GET, HEAD, PUT, PROPFIND, MKCOL, OPTIONS" }).end();
    });
  };
}

/** What a path names. */
interface Place {
  readonly path: string;
  readonly isCollection: boolean;
}

/** @throws {CacheError} invalid_argument */
function placeIn({ params }: HttpExchange): Place {
  // An endpoint that ends in a slash gets another one from the client.
  const path = (params["*"] ?? "").replace(/^\//, "");
  const names = path.split("/");
  const isCollection = names.at(-1) === "";
  if (isCollection) names.pop();
  if (path.length <= PATH_CHARACTERS_MAX && names.every((name) => NAME.test(name))) return { path, isCollection };
  throw badPath("letters, digits, ., _ and - between slashes", path);
}

function filePathIn(exchange: HttpExchange): string {
  const { path, isCollection } = placeIn(exchange);
  if (isCollection) throw badPath("a file", path);
  return path;
}

/** Nothing in it needs escapes. @throws {CacheError} not_found */
function multiStatus({ path, isCollection }: Place, files: ValueStore): string {
  const sizeBytes = isCollection ? 0 : files.find(path);
  if (sizeBytes === undefined) throw new CacheError("not_found", `nothing is stored under ${JSON.stringify(path)}`);
  const kind = isCollection
    ? "<D:resourcetype><D:collection/></D:resourcetype>"
    : `<D:resourcetype/><D:getcontentlength>${sizeBytes}</D:getcontentlength>`;
  const properties = `<D:prop>${kind}<D:getlastmodified>${LAST_MODIFIED}</D:getlastmodified></D:prop>`;
  const status = "<D:status>HTTP/1.1 200 OK</D:status>";
  const response = `<D:href>${BASE}${path}</D:href><D:propstat>${properties}${status}</D:propstat>`;
  return `<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:"><D:response>${response}</D:response></D:multistatus>
`;
}

function badPath(expected: string, path: string): CacheError {
  return new CacheError("invalid_argument", `path: expected ${expected}, got ${JSON.stringify(path)}`);
}
