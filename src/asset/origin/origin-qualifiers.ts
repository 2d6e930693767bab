import { validateHeaderName, validateHeaderValue } from "node:http";
import { CacheError } from "../../cache/cache-error.ts";
import type { Qualifier } from "../asset.ts";
import { type Integrity, parseIntegrity } from "../subresource-integrity.ts";

/** Content has to have one of these hashes. */
const INTEGRITY = "checksum.sri";
/** Keeps apart what Bazel wants kept apart; asks nothing of the content. */
const CANONICAL_ID = "bazel.canonical_id";
/** `http_header:NAME` goes to every URI, `http_header_url:INDEX:NAME` to the one at that place in the request. */
const HEADER = /^(?:http_header|http_header_url:(?<index>\d{1,4})):(?<header>.+)$/;
/** They travel in a header, and header blocks have to fit what clients accept (8 KiB in Java). */
const VIOLATIONS_MAX = 16;
/** These are the connection's, or decide how the content is sent. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  "accept-encoding",
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "range",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * An origin knows nothing of qualifiers, so what is fetched from it can be held against these only.
 * @throws {CacheError} invalid_argument for any other, for a header that is none, and for an unreadable checksum.
 */
export function checkFetchable(qualifiers: readonly Qualifier[], uriCount: number): void {
  refuseUnsupported(qualifiers.map(({ name }) => name).filter((name) => !isSupported(name)));
  for (const { name, value } of qualifiers) {
    if (name === INTEGRITY) parseIntegrity(value);
    else if (name !== CANONICAL_ID) checkHeader(name, value, uriCount);
  }
}

/** @throws {CacheError} invalid_argument where it is unreadable. */
export function integrityOf(qualifiers: readonly Qualifier[]): Integrity | undefined {
  const found = qualifiers.find(({ name }) => name === INTEGRITY);
  return found && parseIntegrity(found.value);
}

/** @param uriIndex place of the URI in the request. */
export function headersFor(qualifiers: readonly Qualifier[], uriIndex: number): Record<string, string> {
  const headers: Record<string, string> = {};
  const forAll = qualifiers.flatMap(({ name, value }) => {
    const { index, header } = HEADER.exec(name)?.groups ?? {};
    return header === undefined ? [] : [{ index, header: header.toLowerCase(), value }];
  });
  // What is meant for one URI counts more than what is meant for all.
  for (const { index, header, value } of forAll) if (index === undefined) headers[header] = value;
  for (const { index, header, value } of forAll) if (Number(index) === uriIndex) headers[header] = value;
  return headers;
}

function checkHeader(qualifier: string, value: string, uriCount: number): void {
  const { index = "0", header = "" } = HEADER.exec(qualifier)?.groups ?? {};
  if (OWN_HEADERS.has(header.toLowerCase()) || Number(index) >= uriCount) throw refusedHeader(qualifier);
  try {
    validateHeaderName(header);
    validateHeaderValue(header, value);
  } catch {
    throw refusedHeader(qualifier);
  }
}

function isSupported(name: string): boolean {
  return name === INTEGRITY || name === CANONICAL_ID || HEADER.test(name);
}

/** In the form in which the API asks for it, so that a client can leave them out and ask again. */
function refuseUnsupported(names: readonly string[]): void {
  if (names.length === 0) return;
  const fieldViolations = names.slice(0, VIOLATIONS_MAX).map((name) => ({
    field: "qualifiers.name",
    description: `${quote(name)} not supported`,
  }));
  const message = fieldViolations.map(({ description }) => description).join(", ");
  throw new CacheError("invalid_argument", `qualifiers.name: ${message}`, { fieldViolations });
}

function refusedHeader(qualifier: string): CacheError {
  return new CacheError("invalid_argument", `qualifiers.name: ${quote(qualifier)} names no header that may be sent`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}
