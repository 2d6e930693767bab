import type { Caller } from "../../auth/caller.ts";
import type { HeaderFields } from "../../http2/header-fields.ts";
import type { BoundMethod } from "./handler.ts";

/** A call to be run. */
export interface CallHead {
  readonly kind: "call";
  readonly method: BoundMethod;
  readonly deadlineMs: number | undefined;
  /** Whether its messages may be compressed. */
  readonly isGzip: boolean;
  /** Who was let in with these fields last. */
  caller: Caller | undefined;
}

/** What the header fields of a request ask for, worked out once for all requests that share them. */
export type RequestHead =
  | CallHead
  /** A gRPC call that gets a status at once. */
  | { readonly kind: "refusedCall"; readonly code: "unimplemented" | "invalid_argument"; readonly message: string }
  /** No gRPC call. */
  | { readonly kind: "refusedRequest"; readonly status: number; readonly message: string };

const CONTENT_TYPE = /^application\/grpc(?:$|[+;])/i;
const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };
/** The most a timer takes; a deadline further away is none. */
const TIMER_MS_MAX = 0x7fff_ffff;

export function readRequestHead(fields: HeaderFields, methods: ReadonlyMap<string, BoundMethod>): RequestHead {
  if (fields.get(":method") !== "POST") {
    return { kind: "refusedRequest", status: 405, message: "gRPC calls are POST requests" };
  }
  if (!CONTENT_TYPE.test(fields.get("content-type") ?? "")) {
    return { kind: "refusedRequest", status: 415, message: "expected content-type application/grpc" };
  }
  const path = fields.get(":path") ?? "";
  const method = methods.get(path);
  if (method === undefined) {
    return { kind: "refusedCall", code: "unimplemented", message: `there is no method ${path}` };
  }
  const encoding = fields.get("grpc-encoding") ?? "identity";
  if (encoding !== "identity" && encoding !== "gzip") {
    return { kind: "refusedCall", code: "unimplemented", message: "grpc-encoding: expected identity or gzip" };
  }
  const timeout = fields.get("grpc-timeout");
  const deadlineMs = timeout === undefined ? undefined : parseTimeoutMs(timeout);
  if (Number.isNaN(deadlineMs)) {
    return { kind: "refusedCall", code: "invalid_argument", message: "grpc-timeout: expected digits and a unit" };
  }
  return { kind: "call", method, deadlineMs, isGzip: encoding === "gzip", caller: undefined };
}

/** @returns NaN where it is no timeout, undefined where it is too far away to matter. */
export function parseTimeoutMs(text: string): number | undefined {
  const [, digits, unit = ""] = TIMEOUT.exec(text) ?? [];
  const timeoutMs = Number(digits) * (UNIT_MS[unit] ?? Number.NaN);
  return timeoutMs > TIMER_MS_MAX ? undefined : timeoutMs;
}
