import type { OutgoingHttpHeaders } from "node:http";
import { CacheError, shedReasonOf } from "../cache/cache-error.ts";
import type { ValueStore } from "../cache/value-store.ts";
import { requestedRange, type ResolvedRange } from "./byte-range-header.ts";
import { contentHead, sendContent } from "./content-response.ts";
import { HTTP_STATUS } from "./http-status.ts";
import { type HttpExchange, sendText } from "./http-router.ts";

export const OCTET_STREAM: OutgoingHttpHeaders = {
  "content-type": "application/octet-stream",
  "accept-ranges": "bytes",
};

/**
 * Answers GET and HEAD with the value of this name.
 * @throws {CacheError} not_found
 */
export async function sendValue(
  exchange: HttpExchange,
  values: ValueStore,
  name: string,
  headers: OutgoingHttpHeaders = OCTET_STREAM,
): Promise<void> {
  const { request } = exchange;
  if (request.method === "HEAD") {
    const sizeBytes = values.find(name);
    if (sizeBytes === undefined) throw absent(name);
    sendHead(exchange, sizeBytes, headers);
    return;
  }
  let range: ResolvedRange | undefined;
  const rangeOf = (sizeBytes: number): ResolvedRange | undefined => (range = rangeFor(exchange, sizeBytes));
  const getting = values.get(name, request.headers.range === undefined ? undefined : rangeOf);
  const content = getting instanceof Promise ? await getting : getting;
  if (content === undefined) throw absent(name);
  await sendContent(exchange, content, range, headers);
}

/** Answers HEAD as GET would be, without the body. */
export function sendHead({ response }: HttpExchange, sizeBytes: number, headers: OutgoingHttpHeaders): void {
  response.writeHead(200, { ...headers, "content-length": sizeBytes }).end();
}

/** Answers GET and HEAD with what is in memory. @throws {CacheError} out_of_range */
export function sendBytes(exchange: HttpExchange, bytes: Uint8Array, headers: OutgoingHttpHeaders): void {
  if (exchange.request.method === "HEAD") return sendHead(exchange, bytes.length, headers);
  const range = rangeFor(exchange, bytes.length);
  const { status, headers: allHeaders } = contentHead(bytes.length, range, headers);
  const part = range === undefined ? bytes : bytes.subarray(range.offset, range.offset + range.limit);
  exchange.response.writeHead(status, allHeaders).end(part);
}

/** @throws {CacheError} out_of_range, and the answer will tell how large the value is. */
export function rangeFor({ request, response }: HttpExchange, sizeBytes: number): ResolvedRange | undefined {
  try {
    return requestedRange(request.headers, sizeBytes);
  } catch (error) {
    response.setHeader("content-range", `bytes */${sizeBytes}`);
    throw error;
  }
}

/** The answer to an upload. */
export function sendStored({ response }: HttpExchange): void {
  response.writeHead(200, { "content-length": 0 }).end();
}

/**
 * For clients to whom any other answer is a reason to go on without a cache, or to give up: where a value cannot be
 * had, it is absent.
 */
export async function absentIfUnavailable(exchange: HttpExchange, sending: () => Promise<void>): Promise<void> {
  try {
    await sending();
  } catch (error) {
    const isTheirs =
      error instanceof CacheError && HTTP_STATUS[error.code] < 500 && error.code !== "resource_exhausted";
    if (isTheirs || exchange.response.headersSent) throw error;
    exchange.shedBy = shedReasonOf(error);
    sendAbsence(exchange);
  }
}

/** For what is there, perhaps. */
export function sendAbsence({ response }: HttpExchange): void {
  sendText(response, HTTP_STATUS.not_found, "not to be had now\n");
}

/**
 * A name out of a path.
 * @throws {CacheError} invalid_argument where it is not of the form.
 */
export function nameIn({ params }: HttpExchange, parameter: string, form: RegExp, expected: string): string {
  const name = params[parameter] ?? "";
  if (form.test(name)) return name;
  throw new CacheError("invalid_argument", `${parameter}: expected ${expected}, got ${JSON.stringify(name)}`);
}

function absent(name: string): CacheError {
  return new CacheError("not_found", `nothing is stored under ${JSON.stringify(name)}`);
}
