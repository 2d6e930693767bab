import fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import { DigestList } from "../../src/cache/digest-list.ts";
import { hexKeyWords } from "../../src/cache/key-words.ts";
import type { Digest } from "../../src/grpc/messages.ts";
import { serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import {
  decodeFindMissingBlobsRequest,
  type EncodedDigests,
  encodeFindMissingBlobsResponse,
} from "../../src/grpc/proto-find-missing-codec.ts";
import { requestDigest } from "../../src/grpc/request-digest.ts";
import { type CasContent, contentOf } from "../support/cas-content.ts";
import { encodedDigests } from "../support/encoded-digests.ts";

// protobufjs, by way of proto-loader, is the oracle.
const { FindMissingBlobs } = serviceDefinition("build.bazel.remote.execution.v2.ContentAddressableStorage");
const oracleDecode = FindMissingBlobs!.requestDeserialize as (bytes: Buffer) => object;
const oracleEncode = FindMissingBlobs!.requestSerialize as (request: object) => Buffer;
const oracleEncodeResponse = FindMissingBlobs!.responseSerialize as (response: object) => Buffer;

const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const hash = fc.oneof(fc.stringMatching(/^[0-9a-f]{64}$/), fc.string({ unit: "binary", maxLength: 80 }));
const digest = fc.record({ hash, size_bytes: size });

/** Fields that neither the request nor a digest has. */
const unknownFields = fc
  .array(fc.tuple(fc.integer({ min: 4, max: 2 ** 29 - 1 }), fc.uint8Array({ maxLength: 20 })), { maxLength: 2 })
  .map((fields) => {
    const writer = protobuf.Writer.create();
    for (const [number, bytes] of fields) writer.uint32(((number << 3) | 2) >>> 0).bytes(bytes);
    return Buffer.from(writer.finish());
  });

function decode(bytes: Buffer): object {
  const request = decodeFindMissingBlobsRequest(bytes);
  return { ...request, blob_digests: messagesOf(request.blob_digests) };
}

function messagesOf(digests: EncodedDigests): Digest[] {
  return Array.from({ length: digests.count }, (_, index) => digests.at(index));
}

function outcome(bytes: Buffer): unknown {
  try {
    return decode(bytes);
  } catch (error) {
    return (error as Error).name;
  }
}

describe("FindMissingBlobsRequest", () => {
  test("decodes as protobufjs decodes it, with unknown fields in between", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        fc.array(digest, { maxLength: 5 }),
        fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        fc.array(unknownFields, { minLength: 3, maxLength: 3 }),
        (instance_name, blob_digests, digest_function, unknown) => {
          const parts = [{ blob_digests }, { instance_name }, { digest_function }, { blob_digests }];
          const bytes = Buffer.concat(parts.flatMap((part, i) => [oracleEncode(part), unknown[i] ?? Buffer.alloc(0)]));
          expect(decode(bytes)).toEqual(oracleDecode(bytes));
        },
      ),
    );
  });

  test("a digest may have fields of a version to come, and none", () => {
    const inner = Buffer.concat([
      Buffer.from([(1 << 3) | 2, 2]),
      Buffer.from("ab"),
      Buffer.from([5 << 3, 1, 2 << 3, 7]),
    ]);
    const bytes = Buffer.concat([Buffer.from([(2 << 3) | 2, inner.length]), inner, Buffer.from([(2 << 3) | 2, 0])]);
    expect(messagesOf(decodeFindMissingBlobsRequest(bytes).blob_digests)).toEqual([
      { hash: "ab", size_bytes: 7 },
      { hash: "", size_bytes: 0 },
    ]);
    expect(decode(bytes)).toEqual(oracleDecode(bytes));
  });

  test("arbitrary and cut bytes never do worse than throw a RangeError or TypeError", () => {
    const whole = oracleEncode({ blob_digests: [{ hash: "ab".repeat(32), size_bytes: 300 }], instance_name: "x" });
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
    [
      "a hash that ends beyond its digest",
      [(2 << 3) | 2, 3, (1 << 3) | 2, 9, 97, 98, 99, 100, 101, 102, 103, 104, 105],
    ],
    ["a size that ends beyond its digest", [(2 << 3) | 2, 2, 2 << 3, 0x80, 0x01]],
    ["a digest longer than the message", [(2 << 3) | 2, 9, (1 << 3) | 2, 1]],
    ["a digest that is a varint", [2 << 3, 1]],
    ["a hash that is a varint", [(2 << 3) | 2, 2, 1 << 3, 1]],
  ])("%s throws", (_name, bytes) => {
    expect(["RangeError", "TypeError"]).toContain(outcome(Buffer.from(bytes)));
  });
});

describe("EncodedDigests", () => {
  /** What `parseDigest` makes of the digests, or the message of what it throws first. */
  const expected = (digests: readonly Digest[]): unknown => {
    try {
      return [
        ...DigestList.of(digests.map((message, i) => requestDigest(`blob_digests[${i}]`, message, "sha256"))).words,
      ];
    } catch (error) {
      return (error as Error).message;
    }
  };
  const listed = (digests: EncodedDigests): unknown => {
    try {
      return [...digests.list(0, digests.count, "sha256").words];
    } catch (error) {
      return (error as Error).message;
    }
  };
  const EMPTY = contentOf(Buffer.alloc(0)).digest.hash;
  const checkedHash = fc.oneof(
    { weight: 20, arbitrary: fc.stringMatching(/^[0-9a-f]{64}$/) },
    fc.constant(EMPTY),
    fc.stringMatching(/^[0-9a-fA-F]{64}$/),
    fc.stringMatching(/^[0-9a-f]{60,66}$/),
    fc.string({ unit: "binary", maxLength: 80 }),
  );
  const checkedSize = fc.oneof({ weight: 20, arbitrary: size }, fc.constantFrom(0, -1, 2 ** 49, 2 ** 53, 2 ** 62));

  test("are checked and read as parseDigest does it", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ hash: checkedHash, size_bytes: checkedSize }), { maxLength: 6 }), (digests) => {
        const encoded = decodeFindMissingBlobsRequest(oracleEncode({ blob_digests: digests })).blob_digests;
        expect(listed(encoded)).toEqual(expected(messagesOf(encoded)));
      }),
    );
  });

  test.each(["md5", "gitsha1", "sha512", "blake3"] as const)("of %s are read as parseDigest does it", (fn) => {
    const contents = ["", "a", "b"].map((text) => contentOf(Buffer.from(text), fn));
    const encoded = encodedDigests(
      contents.map(({ digest: { hash: text, sizeBytes } }) => ({ hash: text, size_bytes: sizeBytes })),
    );
    expect([...encoded.list(0, 3, fn).words]).toEqual(contents.flatMap(({ key }) => [...key.words]));
    expect(() => encoded.list(0, 3, fn === "sha512" ? "md5" : "sha512")).toThrow("blob_digests[0].hash: expected");
  });

  test("of no function are of the one that the length of the first hash tells", () => {
    const [first, second] = ["a", "b"].map((text) => contentOf(Buffer.from(text), "sha1")) as [CasContent, CasContent];
    const messages = [first, second].map(({ digest: { hash: text, sizeBytes } }) => ({
      hash: text,
      size_bytes: sizeBytes,
    }));
    const list = encodedDigests(messages).list(1, 2, undefined);
    expect([list.fn, ...list.words]).toEqual(["sha1", ...second.key.words]);
    const mixed = encodedDigests([...messages, { hash: "a".repeat(64), size_bytes: 1 }]);
    expect(() => mixed.list(0, 3, undefined)).toThrow("blob_digests[2].hash: expected 40");
    expect(() => encodedDigests([{ hash: "abc", size_bytes: 1 }]).list(0, 1, undefined)).toThrow(
      "blob_digests[0].hash",
    );
  });

  test("are given from any place to any other, with their sizes", () => {
    const hashes = ["a", "b", "c", "d"].map((digit) => digit.repeat(64));
    const { blob_digests } = decodeFindMissingBlobsRequest(
      oracleEncode({ blob_digests: hashes.map((text, i) => ({ hash: text, size_bytes: 2 ** (13 * i) })) }),
    );
    const list = blob_digests.list(1, 3, "sha256");
    expect(list.count).toBe(2);
    expect([...list.sizes]).toEqual([2 ** 13, 2 ** 26]);
    expect([...list.words]).toEqual([...hexKeyWords(hashes[1]!), ...hexKeyWords(hashes[2]!)]);
  });
});

describe("FindMissingBlobsResponse", () => {
  test("encodes to the bytes that protobufjs makes", () => {
    const sent = fc.record({ hash: fc.stringMatching(/^[0-9a-f]{0,130}$/), size_bytes: size });
    fc.assert(
      fc.property(fc.array(sent, { maxLength: 6 }), (missing_blob_digests) => {
        const bytes = encodeFindMissingBlobsResponse({ missing_blob_digests });
        // protobufjs writes fields that have their default value, which proto3 leaves out: decoding tells no difference.
        expect(messagesOf(decodeFindMissingBlobsRequest(bytes).blob_digests)).toEqual(missing_blob_digests);
        const nonEmpty = missing_blob_digests.filter(({ hash: text, size_bytes }) => text !== "" && size_bytes > 0);
        expect(encodeFindMissingBlobsResponse({ missing_blob_digests: nonEmpty })).toEqual(
          oracleEncodeResponse({ missing_blob_digests: nonEmpty }),
        );
      }),
    );
  });
});
