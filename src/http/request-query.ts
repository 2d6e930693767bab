import type { IncomingMessage } from "node:http";

/** The decoded query of a request; empty where it has none. */
export function requestQuery({ url = "" }: IncomingMessage): URLSearchParams {
  const start = url.indexOf("?");
  return new URLSearchParams(start === -1 ? "" : url.slice(start + 1));
}
