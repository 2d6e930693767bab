import { describe, expect, it } from "vitest";
import { CacheError, type CacheErrorCode } from "../../src/cache/cache-error.ts";
import { HTTP_STATUS, toHttpFailure } from "../../src/http/http-status.ts";

function noFault(): never {
  throw new Error("no fault was expected");
}

describe("toHttpFailure", () => {
  it("gives each code its status and keeps the message", () => {
    const { internal: _, ...codes } = HTTP_STATUS;
    for (const [code, status] of Object.entries(codes)) {
      const failure = toHttpFailure(new CacheError(code as CacheErrorCode, "why"), noFault);
      expect(failure).toMatchObject({ status, message: "why" });
    }
  });

  it("tells when to retry: what the error says, in whole seconds rounded up, else one second for overload", () => {
    const secondsFor = (code: CacheErrorCode, retryAfterMs?: number) =>
      toHttpFailure(new CacheError(code, "", retryAfterMs === undefined ? {} : { retryAfterMs }), noFault)
        .retryAfterSeconds;
    expect(secondsFor("resource_exhausted")).toBe(1);
    expect(secondsFor("unavailable", 2001)).toBe(3);
    expect(secondsFor("storage_full", 0)).toBe(1);
    expect(secondsFor("storage_full")).toBeUndefined();
    expect(secondsFor("not_found")).toBeUndefined();
  });

  it("hides what is unknown or internal behind a reference that the log has too", () => {
    for (const error of [new Error("/etc/secret"), "thrown text", new CacheError("internal", "index slot 7")]) {
      const reported: [string, unknown][] = [];
      const failure = toHttpFailure(error, (reference, cause) => reported.push([reference, cause]));
      expect(reported).toEqual([[expect.stringMatching(/^[0-9a-f]{16}$/), error]]);
      expect(failure).toEqual({
        status: 500,
        message: `internal error, reference ${reported[0]?.[0]}`,
        retryAfterSeconds: undefined,
      });
    }
  });
});
