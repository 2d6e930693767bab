import type { Qualifier } from "../asset/asset.ts";
import { CacheError } from "../cache/cache-error.ts";
import type { Duration, Timestamp } from "./google-messages.ts";

const URIS_MAX = 100;
const QUALIFIERS_MAX = 100;
const TEXT_CHARACTERS_MAX = 8192;
/** Digests that a push may say its content refers to, in each of its two lists. */
const REFERENCES_MAX = 10_000;

/** @throws {CacheError} invalid_argument for none, too many, and what cannot be a URI. */
export function requestUris(uris: readonly string[]): readonly string[] {
  if (uris.length === 0 || uris.length > URIS_MAX) {
    throw new CacheError("invalid_argument", `uris: expected 1 to ${URIS_MAX}, got ${uris.length}`);
  }
  for (const [index, uri] of uris.entries()) checkText(`uris[${index}]`, uri);
  return uris;
}

/** @throws {CacheError} invalid_argument for a name that is empty or comes twice, and for too many or too long ones. */
export function requestQualifiers(qualifiers: readonly Qualifier[]): readonly Qualifier[] {
  if (qualifiers.length > QUALIFIERS_MAX) {
    throw new CacheError(
      "invalid_argument",
      `qualifiers: expected at most ${QUALIFIERS_MAX}, got ${qualifiers.length}`,
    );
  }
  const names = new Set<string>();
  for (const [index, { name, value }] of qualifiers.entries()) {
    const field = `qualifiers[${index}]`;
    checkText(`${field}.name`, name);
    if (value !== "") checkText(`${field}.value`, value);
    if (names.has(name)) throw new CacheError("invalid_argument", `${field}.name: expected each name once`);
    names.add(name);
  }
  return qualifiers;
}

/** @throws {CacheError} invalid_argument for too many. */
export function checkReferenceCount(field: string, references: readonly unknown[]): void {
  if (references.length <= REFERENCES_MAX) return;
  throw new CacheError("invalid_argument", `${field}: expected at most ${REFERENCES_MAX}, got ${references.length}`);
}

/** Milliseconds since the epoch; undefined where it is absent. */
export function requestTimeMs(time: Timestamp | null): number | undefined {
  return time === null ? undefined : milliseconds(time);
}

/** @returns undefined where it is absent. @throws {CacheError} invalid_argument for a negative one. */
export function requestTimeoutMs(timeout: Duration | null): number | undefined {
  if (timeout === null) return undefined;
  const timeoutMs = milliseconds(timeout);
  if (timeoutMs < 0) throw new CacheError("invalid_argument", `timeout: expected 0 or more, got ${timeoutMs} ms`);
  return timeoutMs;
}

function milliseconds({ seconds, nanos }: Duration): number {
  return seconds * 1000 + nanos / 1_000_000;
}

function checkText(field: string, text: string): void {
  if (text !== "" && text.length <= TEXT_CHARACTERS_MAX) return;
  const range = `1 to ${TEXT_CHARACTERS_MAX} characters`;
  throw new CacheError("invalid_argument", `${field}: expected ${range}, got ${text.length}`);
}
