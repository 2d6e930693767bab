import type { Logger } from "./logger.ts";
import type { ObservedRequest, RequestObserver } from "./request-observer.ts";

/** Longer ones are cut: a line that is written at once may have 4096 bytes, or it mixes with those of other threads. */
const PATH_CHARACTERS_MAX = 1024;

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

function requestFields({ id, protocol, method, path, peer, build }: ObservedRequest): Record<string, unknown> {
  const fields = { requestId: id, protocol, method, peer };
  return {
    ...fields,
    ...(path === undefined ? {} : { path: path.slice(0, PATH_CHARACTERS_MAX) }),
    ...(build === undefined ? {} : { build }),
  };
}
