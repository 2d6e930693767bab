/** Every way in which a cache operation can fail. `src/grpc/grpc-status.ts` and `src/http/http-status.ts` map each one. */
export type CacheErrorCode =
  | "invalid_argument"
  | "not_found"
  | "out_of_range"
  | "failed_precondition"
  | "resource_exhausted"
  | "storage_full"
  | "too_large"
  | "unavailable"
  | "deadline_exceeded"
  | "cancelled"
  | "unauthenticated"
  | "permission_denied"
  | "unimplemented"
  | "internal";

/** A field of a request that is at fault. */
export interface FieldViolation {
  /** Its path, with dots between the names. */
  readonly field: string;
  readonly description: string;
}

/** Why a request was shed: its caller makes too many; too much memory is in use; anything else that is full. */
export type ShedReason = "rate" | "memory" | "room";

export interface CacheErrorOptions {
  /** When a retry may succeed, in milliseconds from now; sent as RetryInfo or Retry-After. */
  retryAfterMs?: number;
  /** Of what is shed; default: room. */
  shedBy?: ShedReason;
  /** For clients that act on them; sent as BadRequest where the API asks for it. */
  fieldViolations?: readonly FieldViolation[];
  cause?: unknown;
}

const NO_VIOLATIONS: readonly FieldViolation[] = [];

/**
 * The one error type of the domain. The message is shown to the client: it names the field at fault and the
 * values expected and got, and never a path or an internal detail.
 */
export class CacheError extends Error {
  readonly code: CacheErrorCode;
  readonly retryAfterMs: number | undefined;
  /** For the metrics; undefined where nothing was shed. */
  readonly shedBy: ShedReason | undefined;
  readonly fieldViolations: readonly FieldViolation[];

  constructor(code: CacheErrorCode, message: string, options: CacheErrorOptions = {}) {
    // Every miss is one: the stack of an outcome is read by nobody, and takes longer than all else about it.
    const { stackTraceLimit } = Error;
    if (code !== "internal") Error.stackTraceLimit = 0;
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.name = "CacheError";
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
    this.shedBy = options.shedBy ?? (code === "resource_exhausted" || code === "storage_full" ? "room" : undefined);
    this.fieldViolations = options.fieldViolations ?? NO_VIOLATIONS;
  }
}

export function shedReasonOf(error: unknown): ShedReason | undefined {
  return error instanceof CacheError ? error.shedBy : undefined;
}
