import fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import type { BatchUpdateBlobsRequest, BatchUpdateBlobsResponse } from "../../src/grpc/messages.ts";
import {
  decodeBatchUpdateBlobsRequest,
  encodeBatchUpdateBlobsResponse,
} from "../../src/grpc/proto-batch-update-codec.ts";
import { batchUpdateBlobsResponseCodec, serviceDefinition } from "../../src/grpc/proto-definitions.ts";

// protobufjs, by way of proto-loader, is the oracle.
const { BatchUpdateBlobs } = serviceDefinition("build.bazel.remote.execution.v2.ContentAddressableStorage");
const oracleDecode = BatchUpdateBlobs!.requestDeserialize as (bytes: Buffer) => BatchUpdateBlobsRequest;
const oracleEncode = BatchUpdateBlobs!.requestSerialize as (request: object) => Buffer;

const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const hash = fc.oneof(fc.stringMatching(/^[0-9a-f]{64}$/), fc.string({ unit: "binary", maxLength: 80 }));
const digest = fc.record({ hash, size_bytes: fc.oneof(size, fc.constant(-1)) });
const entry = fc.record({
  digest: fc.option(digest, { nil: null }),
  data: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  compressor: fc.integer({ min: 0, max: 9 }),
});

/** Fields that neither the request nor an entry has. */
const unknownFields = fc
  .array(fc.tuple(fc.integer({ min: 6, max: 2 ** 29 - 1 }), fc.uint8Array({ maxLength: 20 })), { maxLength: 2 })
  .map((fields) => {
    const writer = protobuf.Writer.create();
    for (const [number, bytes] of fields) writer.uint32(((number << 3) | 2) >>> 0).bytes(bytes);
    return Buffer.from(writer.finish());
  });

function outcome(bytes: Buffer): unknown {
  try {
    return decodeBatchUpdateBlobsRequest(bytes);
  } catch (error) {
    return (error as Error).name;
  }
}

/** A field of wire type lengthDelimited. */
function field(number: number, ...contents: Uint8Array[]): Buffer {
  const bytes = Buffer.concat(contents);
  return Buffer.concat([Buffer.of((number << 3) | 2, bytes.length), bytes]);
}

describe("BatchUpdateBlobsRequest", () => {
  test("decodes as protobufjs decodes it, with unknown fields in between", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        fc.array(entry, { maxLength: 4 }),
        fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        fc.array(unknownFields, { minLength: 3, maxLength: 3 }),
        (instance_name, requests, digest_function, unknown) => {
          const parts = [{ requests }, { instance_name }, { digest_function }, { requests }];
          const bytes = Buffer.concat(parts.flatMap((part, i) => [oracleEncode(part), unknown[i] ?? Buffer.alloc(0)]));
          expect(decodeBatchUpdateBlobsRequest(bytes)).toEqual(oracleDecode(bytes));
        },
      ),
    );
  });

  test("an entry may have its fields in any order, twice, and ones of a version to come", () => {
    const bytes = field(
      2,
      field(2, Buffer.from("first")),
      field(9, Buffer.of(1)),
      Buffer.of(3 << 3, 1),
      field(1, field(1, Buffer.from("ab")), Buffer.of(2 << 3, 5)),
      field(2, Buffer.from("last")),
      Buffer.of(3 << 3, 2),
    );
    expect(decodeBatchUpdateBlobsRequest(bytes)).toEqual(oracleDecode(bytes));
    expect(decodeBatchUpdateBlobsRequest(bytes).requests[0]?.data.toString()).toBe("last");
  });

  test("data is not copied", () => {
    const bytes = oracleEncode({ requests: [{ digest: null, data: Buffer.from("data"), compressor: 0 }] });
    const [decoded] = decodeBatchUpdateBlobsRequest(bytes).requests;
    bytes.fill(0x7a);
    expect(decoded?.data.toString()).toBe("zzzz");
  });

  test("arbitrary and cut bytes never do worse than throw a RangeError or TypeError", () => {
    const whole = oracleEncode({
      requests: [{ digest: { hash: "ab".repeat(32), size_bytes: 3 }, data: Buffer.from("abc"), compressor: 1 }],
      instance_name: "x",
    });
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
    ["data that end beyond their entry", [(2 << 3) | 2, 3, (2 << 3) | 2, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ["a compressor that ends beyond its entry", [(2 << 3) | 2, 2, 3 << 3, 0x80, 0x01]],
    ["a digest that ends beyond its entry", [(2 << 3) | 2, 3, (1 << 3) | 2, 2, 2 << 3, 1]],
    ["a hash that ends beyond its digest", [(2 << 3) | 2, 6, (1 << 3) | 2, 2, (1 << 3) | 2, 2, 97, 98]],
    ["an entry longer than the message", [(2 << 3) | 2, 9, (2 << 3) | 2, 0]],
    ["an entry that is a varint", [2 << 3, 1]],
    ["data that are a varint", [(2 << 3) | 2, 2, 2 << 3, 1]],
  ])("%s throws", (_name, bytes) => {
    expect(["RangeError", "TypeError"]).toContain(outcome(Buffer.from(bytes)));
  });
});

describe("BatchUpdateBlobsResponse", () => {
  const stored = fc.record({
    digest: fc.record({ hash: fc.stringMatching(/^[0-9a-f]{0,130}$/), size_bytes: size }),
    status: fc.constant({ code: 0, message: "", details: [] }),
  });
  const failed = fc.record({
    digest: fc.option(fc.record({ hash, size_bytes: fc.oneof(size, fc.constant(-1)) }), { nil: null }),
    status: fc.record({
      code: fc.integer({ min: 1, max: 16 }),
      message: fc.string({ unit: "binary" }),
      details: fc.array(fc.record({ type_url: fc.string(), value: fc.constant(Buffer.from([8, 1])) }), {
        maxLength: 1,
      }),
    }),
  });

  test("is read by protobufjs as what was encoded", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(stored, failed), { maxLength: 6 }), (responses) => {
        const response = { responses } as BatchUpdateBlobsResponse;
        expect(batchUpdateBlobsResponseCodec.decode(encodeBatchUpdateBlobsResponse(response))).toEqual(response);
      }),
    );
  });
});
