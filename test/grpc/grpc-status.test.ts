import { expect, test } from "vitest";
import { CacheError, type CacheErrorCode } from "../../src/cache/cache-error.ts";
import { type FaultReporter, statusDetailsTrailer, statusOfError } from "../../src/grpc/grpc-status.ts";
import { badRequestCodec, retryInfoCodec, statusCodec } from "../../src/grpc/proto-definitions.ts";
import { callContext } from "../support/call-context.ts";

const EXPECTED: Record<Exclude<CacheErrorCode, "internal">, number> = {
  cancelled: 1,
  invalid_argument: 3,
  too_large: 3,
  deadline_exceeded: 4,
  not_found: 5,
  permission_denied: 7,
  resource_exhausted: 8,
  storage_full: 8,
  failed_precondition: 9,
  out_of_range: 11,
  unimplemented: 12,
  unavailable: 14,
  unauthenticated: 16,
};

const noFault = (): never => {
  throw new Error("nothing should have been reported");
};

test.each(Object.entries(EXPECTED))("%s is status %i with the message as it is", (code, number) => {
  const error = new CacheError(code as CacheErrorCode, "field: expected x, got y");
  expect(statusOfError(error, noFault)).toEqual({ code: number, message: "field: expected x, got y", details: [] });
});

test("an error that says when to retry carries RetryInfo, also in the trailer", () => {
  const status = statusOfError(new CacheError("resource_exhausted", "full", { retryAfterMs: 2500.2 }), noFault);
  expect(status.details.map((detail) => detail.type_url)).toEqual(["type.googleapis.com/google.rpc.RetryInfo"]);
  const inTrailer = statusCodec.decode(statusDetailsTrailer(status)!);
  expect(inTrailer).toEqual(status);
  expect(retryInfoCodec.decode(inTrailer.details[0]!.value)).toEqual({
    retry_delay: { seconds: 2, nanos: 501_000_000 },
  });
});

test("an error that names fields for the client to act on carries BadRequest", () => {
  const fieldViolations = [{ field: "qualifiers.name", description: '"x" not supported' }];
  const status = statusOfError(new CacheError("invalid_argument", "bad", { fieldViolations }), noFault);
  expect(status.details.map((detail) => detail.type_url)).toEqual(["type.googleapis.com/google.rpc.BadRequest"]);
  expect(badRequestCodec.decode(status.details[0]!.value)).toEqual({ field_violations: fieldViolations });
});

test("an error without details needs no trailer", () => {
  expect(statusDetailsTrailer(statusOfError(new CacheError("not_found", "gone"), noFault))).toBeUndefined();
});

test.each([
  ["an unknown error", new Error("secret path /var/lib")],
  ["a thrown string", "boom"],
  ["an internal CacheError", new CacheError("internal", "secret shard state")],
])("%s reaches the client as a reference only, and the log as the cause", (_name, cause) => {
  const reports: Parameters<FaultReporter>[] = [];
  const call = callContext();
  const status = statusOfError(cause, (...report) => reports.push(report), call);
  expect(reports.length).toBe(1);
  expect(reports[0]![2]).toBe(call);
  expect(reports[0]![1]).toBe(cause);
  expect(reports[0]![0]).toMatch(/^[0-9a-f]{16}$/);
  expect(status).toEqual({ code: 13, message: `internal error, reference ${reports[0]![0]}`, details: [] });
});

test("two faults have two references", () => {
  const references: string[] = [];
  for (let count = 0; count < 2; count++) statusOfError(new Error("x"), (reference) => references.push(reference));
  expect(references[0]).not.toBe(references[1]);
});

test("a message is cut to what fits a header and can be percent-encoded", () => {
  const { message } = statusOfError(new CacheError("invalid_argument", "😀".repeat(2000)), noFault);
  expect(message.length).toBe(1024);
  expect(message.endsWith("…")).toBe(true);
  expect(() => encodeURI(message)).not.toThrow();
  expect(() => encodeURI(statusOfError(new CacheError("not_found", "\ud800"), noFault).message)).not.toThrow();
});
