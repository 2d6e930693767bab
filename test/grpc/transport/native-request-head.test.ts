import { describe, expect, test } from "vitest";
import type { BoundMethod } from "../../../src/grpc/transport/handler.ts";
import { parseTimeoutMs, readRequestHead } from "../../../src/grpc/transport/native-request-head.ts";
import { HeaderFields } from "../../../src/http2/header-fields.ts";

const method: BoundMethod = {
  kind: "unary",
  definition: { path: "/s/M", decodeRequest: (bytes) => bytes, encodeResponse: () => Buffer.alloc(0) },
  handler: (request) => Promise.resolve(request),
};
const methods = new Map([["/s/M", method]]);

function headOf(fields: Record<string, string>) {
  const all = { ":method": "POST", ":path": "/s/M", "content-type": "application/grpc", ...fields };
  return readRequestHead(new HeaderFields(Object.entries(all).flat()), methods);
}

describe("what a request asks for", () => {
  test("a call", () => {
    expect(headOf({})).toEqual({ kind: "call", method, deadlineMs: undefined, isGzip: false });
    const fields = { "content-type": "application/grpc+proto", "grpc-encoding": "gzip", "grpc-timeout": "5S" };
    expect(headOf(fields)).toEqual({ kind: "call", method, deadlineMs: 5000, isGzip: true });
  });

  test.each([
    [{ ":method": "GET" }, { kind: "refusedRequest", status: 405 }],
    [{ "content-type": "application/json" }, { kind: "refusedRequest", status: 415 }],
    [{ "content-type": "application/grpcx" }, { kind: "refusedRequest", status: 415 }],
    [{ ":path": "/s/Other" }, { kind: "refusedCall", code: "unimplemented" }],
    [{ "grpc-encoding": "br" }, { kind: "refusedCall", code: "unimplemented" }],
    [{ "grpc-timeout": "soon" }, { kind: "refusedCall", code: "invalid_argument" }],
  ])("%j is refused", (fields, refusal) => {
    expect(headOf(fields as Record<string, string>)).toMatchObject(refusal);
  });
});

test.each([
  ["1H", 3_600_000],
  ["2M", 120_000],
  ["3S", 3000],
  ["40m", 40],
  ["500000u", 500],
  ["6000000n", 6],
  ["99999999H", undefined],
  ["", Number.NaN],
  ["5", Number.NaN],
  ["5s", Number.NaN],
  ["123456789S", Number.NaN],
  ["-1S", Number.NaN],
])("grpc-timeout %j is %s ms", (text, expectedMs) => {
  expect(parseTimeoutMs(text)).toBe(expectedMs);
});
