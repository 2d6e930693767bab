import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { GetActionResultRequest } from "../../src/grpc/messages.ts";
import { decodeGetActionResultRequest, hasContents } from "../../src/grpc/proto-action-cache-codec.ts";
import { actionResultCodec, serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import { actionResult, outputFile } from "../support/action-results.ts";
import { digestOf } from "../support/cas-content.ts";
import { anyDigest, decodeOutcome, unknownFields } from "./codec-arbitraries.ts";

// protobufjs, by way of proto-loader, is the oracle.
const { GetActionResult } = serviceDefinition("build.bazel.remote.execution.v2.ActionCache");
const oracleDecode = GetActionResult!.requestDeserialize as (bytes: Buffer) => GetActionResultRequest;
const oracleEncode = GetActionResult!.requestSerialize as (request: object) => Buffer;

const outcome = (bytes: Buffer): unknown => decodeOutcome(() => decodeGetActionResultRequest(bytes));

describe("GetActionResultRequest", () => {
  const anyRequest = fc.record({
    instance_name: fc.string({ unit: "grapheme" }),
    action_digest: fc.option(anyDigest, { nil: null }),
    inline_stdout: fc.boolean(),
    inline_stderr: fc.boolean(),
    inline_output_files: fc.array(fc.string({ unit: "grapheme" }), { maxLength: 3 }),
    digest_function: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  });

  test("decodes as protobufjs decodes it, also where fields come twice, with unknown ones in between", () => {
    fc.assert(
      fc.property(anyRequest, anyRequest, unknownFields(7), (first, second, unknown) => {
        const bytes = Buffer.concat([oracleEncode(first), unknown, oracleEncode(second)]);
        expect(decodeGetActionResultRequest(bytes)).toEqual(oracleDecode(bytes));
      }),
    );
  });

  test("arbitrary and cut bytes never do worse than throw a RangeError or TypeError", () => {
    const action_digest = { hash: "ab".repeat(32), size_bytes: 300 };
    const whole = oracleEncode({ action_digest, instance_name: "x", inline_output_files: ["a"], inline_stdout: true });
    for (let length = 0; length < whole.length; length++) {
      expect([expect.any(Object), "RangeError", "TypeError"]).toContainEqual(outcome(whole.subarray(0, length)));
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        expect([expect.any(Object), "RangeError", "TypeError"]).toContainEqual(outcome(Buffer.from(bytes)));
      }),
    );
  });

  test.each([
    ["a digest that is a varint", [2 << 3, 1]],
    ["a digest longer than the message", [(2 << 3) | 2, 9, (1 << 3) | 2, 1]],
    ["a flag of another wire type", [(3 << 3) | 2, 0]],
  ])("%s throws", (_name, bytes) => {
    expect(["RangeError", "TypeError"]).toContain(outcome(Buffer.from(bytes)));
  });
});

describe("hasContents", () => {
  test("says whether an ActionResult carries contents, wherever they are", () => {
    const contents = fc.uint8Array({ maxLength: 3 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(
        contents,
        contents,
        fc.array(contents, { maxLength: 3 }),
        unknownFields(20),
        (out, err, files, more) => {
          const result = actionResult({
            stdout_raw: out,
            stderr_raw: err,
            output_files: files.map((bytes) => ({ ...outputFile("a/b", digestOf(bytes)), contents: bytes })),
          });
          const expected = [out, err, ...files].some((bytes) => bytes.length > 0);
          expect(hasContents(Buffer.concat([more, actionResultCodec.encode(result)]))).toBe(expected);
        },
      ),
    );
  });

  test("throws a RangeError or TypeError for what is no message", () => {
    for (const bytes of [
      [(2 << 3) | 2, 9],
      [(5 << 3) | 2, 200],
      [(2 << 3) | 2, 2, (5 << 3) | 2, 9],
    ]) {
      expect(["RangeError", "TypeError"]).toContain(decodeOutcome(() => hasContents(Buffer.from(bytes))));
    }
  });
});
