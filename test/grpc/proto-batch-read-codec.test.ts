import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Status } from "../../src/grpc/google-messages.ts";
import type { BatchReadBlobsRequest, BatchReadBlobsResponse } from "../../src/grpc/messages.ts";
import {
  batchReadBlobsResponsePieces,
  decodeBatchReadBlobsRequest,
  encodeBatchReadBlobsResponse,
} from "../../src/grpc/proto-batch-read-codec.ts";
import { serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import { anyDigest, decodeOutcome, unknownFields } from "./codec-arbitraries.ts";

// protobufjs, by way of proto-loader, is the oracle.
const { BatchReadBlobs } = serviceDefinition("build.bazel.remote.execution.v2.ContentAddressableStorage");
const oracleDecode = BatchReadBlobs!.requestDeserialize as (bytes: Buffer) => BatchReadBlobsRequest;
const oracleEncode = BatchReadBlobs!.requestSerialize as (request: object) => Buffer;
const oracleDecodeResponse = BatchReadBlobs!.responseDeserialize as (bytes: Buffer) => BatchReadBlobsResponse;

const outcome = (bytes: Buffer): unknown => decodeOutcome(() => decodeBatchReadBlobsRequest(bytes));

describe("BatchReadBlobsRequest", () => {
  test("decodes as protobufjs decodes it, with unknown fields in between", () => {
    fc.assert(
      fc.property(
        fc.record({
          instance_name: fc.string({ unit: "binary" }),
          digests: fc.array(anyDigest, { maxLength: 5 }),
          acceptable_compressors: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 }),
          digest_function: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        }),
        fc.array(unknownFields(5), { minLength: 2, maxLength: 2 }),
        (request, [before, after]) => {
          const bytes = Buffer.concat([before!, oracleEncode(request), after!, oracleEncode(request)]);
          expect(decodeBatchReadBlobsRequest(bytes)).toEqual(oracleDecode(bytes));
        },
      ),
    );
  });

  test("takes compressors one by one as well as packed", () => {
    const bytes = Buffer.from([3 << 3, 1, (3 << 3) | 2, 2, 0, 2, 3 << 3, 3]);
    expect(decodeBatchReadBlobsRequest(bytes).acceptable_compressors).toEqual([1, 0, 2, 3]);
    expect(decodeBatchReadBlobsRequest(bytes)).toEqual(oracleDecode(bytes));
  });

  test("arbitrary and cut bytes never do worse than throw a RangeError or TypeError", () => {
    const digests = [{ hash: "ab".repeat(32), size_bytes: 300 }];
    const whole = oracleEncode({ digests, instance_name: "x", acceptable_compressors: [1, 2] });
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
    ["packed compressors that end beyond the message", [(3 << 3) | 2, 3, 1]],
    ["a packed compressor that ends beyond its list", [(3 << 3) | 2, 1, 0x80, 1]],
    ["an instance name that is a varint", [1 << 3, 1]],
    ["a digest function of another wire type", [(4 << 3) | 2, 0]],
  ])("%s throws", (_name, bytes) => {
    expect(["RangeError", "TypeError"]).toContain(outcome(Buffer.from(bytes)));
  });
});

describe("BatchReadBlobsResponse", () => {
  const ok: Status = { code: 0, message: "", details: [] };
  const status: fc.Arbitrary<Status> = fc.oneof(
    fc.constant(ok),
    fc.record({
      code: fc.integer({ min: 1, max: 16 }),
      message: fc.string({ unit: "binary" }),
      details: fc.array(
        fc.record({ type_url: fc.string(), value: fc.uint8Array({ maxLength: 9 }).map((value) => Buffer.from(value)) }),
        { maxLength: 2 },
      ),
    }),
  );
  const data = fc
    .oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 16_000, max: 17_000 }))
    .chain((length) => fc.integer({ min: 0, max: 255 }).map((byte) => Buffer.alloc(length, byte)));
  const entry = fc.record({
    digest: fc.option(fc.oneof(anyDigest, fc.record({ hash: fc.string(), size_bytes: fc.constant(-1) })), {
      nil: null,
    }),
    data,
    compressor: fc.integer({ min: 0, max: 3 }),
    status: fc.option(status, { nil: null }),
  });

  test("is decoded by protobufjs to what was encoded, in one buffer and in pieces", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 5 }), (responses) => {
        const bytes = encodeBatchReadBlobsResponse({ responses });
        expect(Buffer.concat(batchReadBlobsResponsePieces({ responses })).equals(bytes)).toBe(true);
        const decoded = oracleDecodeResponse(bytes).responses;
        expect(decoded.length).toBe(responses.length);
        for (const [index, { data: sent, ...rest }] of responses.entries()) {
          const { data: received, ...others } = decoded[index]!;
          expect(received.equals(sent)).toBe(true);
          expect(others).toEqual(rest);
        }
      }),
    );
  });

  test("large data is a piece of its own, as it lies; small data is copied", () => {
    const [large, small] = [Buffer.alloc(20_000, 1), Buffer.alloc(1000, 2)];
    const rest = { digest: null, compressor: 0, status: null };
    const pieces = batchReadBlobsResponsePieces({
      responses: [large, small, small].map((bytes) => ({ data: bytes, ...rest })),
    });
    expect(pieces).toHaveLength(3);
    expect(pieces[1]).toBe(large);
  });
});
