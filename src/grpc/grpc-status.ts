import { randomBytes } from "node:crypto";
import { CacheError, type CacheErrorCode, type FieldViolation } from "../cache/cache-error.ts";
import type { Duration, Status } from "./google-messages.ts";
import { badRequestCodec, retryInfoCodec, statusCodec } from "./proto-definitions.ts";
import type { CallContext } from "./transport/handler.ts";

/** gRPC status codes by number. */
export const GRPC_STATUS = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

const STATUS_BY_CODE = {
  invalid_argument: GRPC_STATUS.invalidArgument,
  not_found: GRPC_STATUS.notFound,
  out_of_range: GRPC_STATUS.outOfRange,
  failed_precondition: GRPC_STATUS.failedPrecondition,
  resource_exhausted: GRPC_STATUS.resourceExhausted,
  storage_full: GRPC_STATUS.resourceExhausted,
  too_large: GRPC_STATUS.invalidArgument,
  unavailable: GRPC_STATUS.unavailable,
  deadline_exceeded: GRPC_STATUS.deadlineExceeded,
  cancelled: GRPC_STATUS.cancelled,
  unauthenticated: GRPC_STATUS.unauthenticated,
  permission_denied: GRPC_STATUS.permissionDenied,
  unimplemented: GRPC_STATUS.unimplemented,
  internal: GRPC_STATUS.internal,
} satisfies Record<CacheErrorCode, number>;

const STATUS_NAMES = new Map<number, string>(Object.entries(GRPC_STATUS).map(([name, code]) => [code, name]));
const SERVER_FAULTS: ReadonlySet<number> = new Set([
  GRPC_STATUS.unknown,
  GRPC_STATUS.deadlineExceeded,
  GRPC_STATUS.unimplemented,
  GRPC_STATUS.internal,
  GRPC_STATUS.unavailable,
]);

/** The name of a status code, as logs and metrics show it. */
export function grpcStatusName(code: number): string {
  return STATUS_NAMES.get(code) ?? String(code);
}

/** Whether OpenTelemetry's conventions call a status of a server an error. */
export function isServerFault(code: number): boolean {
  return SERVER_FAULTS.has(code);
}

/** Messages travel in a header, percent-encoded: a header block has to fit what clients accept (8 KiB in Java). */
const MESSAGE_CHARACTERS_MAX = 1024;

/** Told of the cause of an internal fault; the client is told `reference` only (BEHAVIOUR 7). */
export type FaultReporter = (reference: string, cause: unknown, call?: CallContext) => void;

/**
 * What a client is told of an error, as a whole call's outcome or in a batch answer. RetryInfo is among the details
 * where the error says when to retry.
 * @param call whose outcome it is, for the report of a fault.
 */
export function statusOfError(error: unknown, reportFault: FaultReporter, call?: CallContext): Status {
  if (!(error instanceof CacheError) || error.code === "internal") return internalStatus(error, reportFault, call);
  return {
    code: STATUS_BY_CODE[error.code],
    message: clippedMessage(error.message),
    details: detailsOf(error),
  };
}

/** Value of the trailer `grpc-status-details-bin`; undefined where the code and the message say it all. */
export function statusDetailsTrailer(status: Status): Buffer | undefined {
  return status.details.length === 0 ? undefined : statusCodec.encode(status);
}

function internalStatus(error: unknown, reportFault: FaultReporter, call: CallContext | undefined): Status {
  const reference = randomBytes(8).toString("hex");
  reportFault(reference, error, call);
  return { code: GRPC_STATUS.internal, message: `internal error, reference ${reference}`, details: [] };
}

function clippedMessage(message: string): string {
  const clipped =
    message.length <= MESSAGE_CHARACTERS_MAX ? message : `${message.slice(0, MESSAGE_CHARACTERS_MAX - 1)}…`;
  // A lone surrogate, from the client or from the cut, cannot be percent-encoded.
  return clipped.toWellFormed();
}

function detailsOf({ retryAfterMs, fieldViolations }: CacheError): Status["details"] {
  const details = retryAfterMs === undefined ? [] : [retryInfo(retryAfterMs)];
  return fieldViolations.length === 0 ? details : [...details, badRequest(fieldViolations)];
}

function badRequest(fieldViolations: readonly FieldViolation[]): Status["details"][number] {
  return {
    type_url: "type.googleapis.com/google.rpc.BadRequest",
    value: badRequestCodec.encode({ field_violations: fieldViolations }),
  };
}

function retryInfo(retryAfterMs: number): Status["details"][number] {
  return {
    type_url: "type.googleapis.com/google.rpc.RetryInfo",
    value: retryInfoCodec.encode({ retry_delay: durationOfMs(retryAfterMs) }),
  };
}

function durationOfMs(milliseconds: number): Duration {
  const whole = Math.ceil(milliseconds);
  return { seconds: Math.floor(whole / 1000), nanos: (whole % 1000) * 1_000_000 };
}
