import { randomBytes } from "node:crypto";
import { CacheError, type CacheErrorCode } from "../cache/cache-error.ts";

/** Status of each error (BEHAVIOUR 7 and 8). Routes of tools that insist on other answers translate before this. */
export const HTTP_STATUS = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  // Only a client that stops sending runs into a deadline of ours, which is what 408 says.
  deadline_exceeded: 408,
  failed_precondition: 412,
  too_large: 413,
  out_of_range: 416,
  resource_exhausted: 429,
  // Not in the registry; nobody reads it, since the client is gone. Logs and metrics do.
  cancelled: 499,
  internal: 500,
  unimplemented: 501,
  unavailable: 503,
  storage_full: 507,
} as const satisfies Record<CacheErrorCode, number>;

/** Errors that pass by themselves; RFC 9110, section 10.2.3 wants whole seconds. */
const DEFAULT_RETRY_AFTER_MS: Partial<Record<CacheErrorCode, number>> = {
  resource_exhausted: 1000,
  unavailable: 1000,
};

/** Told of the cause of an internal fault; the client is told `reference` only (BEHAVIOUR 7). */
export type FaultReporter = (reference: string, cause: unknown) => void;

/** An error as it goes to an HTTP client. */
export interface HttpFailure {
  readonly status: number;
  readonly message: string;
  /** Value of Retry-After, in seconds. */
  readonly retryAfterSeconds: number | undefined;
}

/** Whatever is not a CacheError, or says "internal", shows a reference and nothing else. */
export function toHttpFailure(error: unknown, reportFault: FaultReporter): HttpFailure {
  if (!(error instanceof CacheError) || error.code === "internal") {
    const reference = randomBytes(8).toString("hex");
    reportFault(reference, error);
    const message = `internal error, reference ${reference}`;
    return { status: HTTP_STATUS.internal, message, retryAfterSeconds: undefined };
  }
  const retryAfterMs = error.retryAfterMs ?? DEFAULT_RETRY_AFTER_MS[error.code];
  return {
    status: HTTP_STATUS[error.code],
    message: error.message,
    retryAfterSeconds: retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(retryAfterMs / 1000)),
  };
}
