import type { Logger } from "./logger.ts";
import type { ObservedRequest, RequestObserver } from "./request-observer.ts";

/** Longer texts of clients are cut: a line of up to 4096 bytes is written at once, and does not mix with others. */
const PATH_CHARACTERS_MAX = 1024;
const TEXT_CHARACTERS_MAX = 128;

/**
 * One line for a request that has ended, of a sample of them.
 * @param rate share of the requests, from 0 to 1.
 */
export function createAccessLog(rate: number, logger: Logger, random: () => number = Math.random): RequestObserver {
  return (request) => {
    if (random() >= rate) return undefined;
    return ({ status, durationMs }) => {
      logger.info({ ...requestFields(request), status, durationMs: Math.round(durationMs * 1000) / 1000 }, "request");
    };
  };
}

function requestFields(request: ObservedRequest): Record<string, unknown> {
  const { id, protocol, method, path, peer, caller, build } = request;
  const clipped = (text: string): string => text.slice(0, TEXT_CHARACTERS_MAX);
  const ofBuild = Object.entries(build ?? {}).map(([name, text]) => [name, clipped(text as string)]);
  return {
    requestId: id,
    protocol,
    method: clipped(method),
    peer,
    ...(path === undefined ? {} : { path: path.slice(0, PATH_CHARACTERS_MAX) }),
    ...(caller === undefined ? {} : { caller: clipped(caller) }),
    ...(build === undefined ? {} : { build: Object.fromEntries(ofBuild) as unknown }),
  };
}
