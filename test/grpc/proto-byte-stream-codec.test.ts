import fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import type { ReadRequest, WriteRequest } from "../../src/grpc/byte-stream-messages.ts";
import { decodeReadRequest, decodeWriteRequest, encodeReadResponse } from "../../src/grpc/proto-byte-stream-codec.ts";
import { serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import { decodeOutcome, unknownFields } from "./codec-arbitraries.ts";

// protobufjs, by way of proto-loader, is the oracle.
const { Read, Write } = serviceDefinition("google.bytestream.ByteStream");
const oracleDecodeWrite = Write!.requestDeserialize as (bytes: Buffer) => WriteRequest;
const oracleEncodeWrite = Write!.requestSerialize as (request: object) => Buffer;
const oracleDecodeReadRequest = Read!.requestDeserialize as (bytes: Buffer) => ReadRequest;
const oracleEncodeReadRequest = Read!.requestSerialize as (request: object) => Buffer;
const oracleEncodeRead = Read!.responseSerialize as (response: object) => Buffer;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

type Field = (writer: protobuf.Writer) => void;

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const knownField: fc.Arbitrary<Field> = fc.oneof(
  fc.string({ unit: "binary" }).map(
    (name): Field =>
      (writer) =>
        writer.uint32(tag(1, LENGTH_DELIMITED)).string(name),
  ),
  int64.map(
    (offset): Field =>
      (writer) =>
        writer.uint32(tag(2, VARINT)).int64(longOf(offset)),
  ),
  fc.boolean().map(
    (finish): Field =>
      (writer) =>
        writer.uint32(tag(3, VARINT)).bool(finish),
  ),
  fc.uint8Array({ maxLength: 300 }).map(
    (data): Field =>
      (writer) =>
        writer.uint32(tag(10, LENGTH_DELIMITED)).bytes(data),
  ),
);
const unknownNumber = fc.integer({ min: 1, max: 2 ** 29 - 1 }).filter((number) => ![1, 2, 3, 10].includes(number));
const unknownField: fc.Arbitrary<Field> = fc.oneof(
  fc.tuple(unknownNumber, fc.nat()).map(
    ([n, value]): Field =>
      (writer) =>
        writer.uint32(tag(n, VARINT)).uint32(value),
  ),
  unknownNumber.map(
    (n): Field =>
      (writer) =>
        writer.uint32(tag(n, FIXED64)).fixed64(7),
  ),
  unknownNumber.map(
    (n): Field =>
      (writer) =>
        writer.uint32(tag(n, FIXED32)).fixed32(7),
  ),
  fc.tuple(unknownNumber, fc.uint8Array()).map(
    ([n, data]): Field =>
      (writer) =>
        writer.uint32(tag(n, LENGTH_DELIMITED)).bytes(data),
  ),
  unknownNumber.map(
    (n): Field =>
      (writer) =>
        writer.uint32(tag(n, 3)).uint32(tag(1, VARINT)).uint32(5).uint32(tag(n, 4)),
  ),
);

describe("ReadRequest", () => {
  const text = fc.string({ unit: "grapheme" });
  const offset = fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER });
  const request = fc.record({ resource_name: text, read_offset: offset, read_limit: offset });

  test("decodes as protobufjs decodes it, also where fields come twice, with unknown ones in between", () => {
    fc.assert(
      fc.property(request, request, unknownFields(4), (first, second, unknown) => {
        const bytes = Buffer.concat([oracleEncodeReadRequest(first), unknown, oracleEncodeReadRequest(second)]);
        expect(decodeReadRequest(bytes)).toEqual(oracleDecodeReadRequest(bytes));
      }),
    );
  });

  test("arbitrary and cut bytes never do worse than throw a RangeError or TypeError", () => {
    const whole = oracleEncodeReadRequest({ resource_name: "blobs/x", read_offset: 300, read_limit: 2 ** 40 });
    const outcome = (bytes: Uint8Array): unknown => decodeOutcome(() => decodeReadRequest(Buffer.from(bytes)));
    for (let length = 0; length < whole.length; length++) {
      expect([expect.any(Object), "RangeError", "TypeError"]).toContainEqual(outcome(whole.subarray(0, length)));
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect([expect.any(Object), "RangeError", "TypeError"]).toContainEqual(outcome(bytes));
      }),
    );
  });
});

describe("WriteRequest", () => {
  test("any fields in any order, repeated, and unknown ones between them decode as protobufjs decodes them", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 3, arbitrary: knownField }, unknownField), { maxLength: 8 }),
        (fields) => {
          const bytes = encoded(...fields);
          expect(decodeWriteRequest(bytes)).toEqual(oracleDecodeWrite(bytes));
        },
      ),
    );
  });

  // No oracle here: protobufjs takes a string that is cut short for a shorter string.
  test("a message cut between fields is the fields before the cut, one cut anywhere else throws", () => {
    const fields = [
      encoded((w) => w.uint32(tag(1, LENGTH_DELIMITED)).string("uploads/x")),
      encoded((w) => w.uint32(tag(2, VARINT)).int64(1_000_000)),
      encoded((w) => w.uint32(tag(3, VARINT)).bool(true)),
      encoded((w) => w.uint32(tag(20, FIXED64)).fixed64(1)),
      encoded((w) => w.uint32(tag(10, LENGTH_DELIMITED)).bytes(Buffer.alloc(200, 7))),
    ];
    const whole = Buffer.concat(fields);
    const boundaries = [0, 1, 2, 3, 4, 5].map((count) => Buffer.concat(fields.slice(0, count)));
    const expected = new Map<number, unknown>(boundaries.map((before) => [before.length, oracleDecodeWrite(before)]));
    for (let length = 0; length <= whole.length; length++) {
      expect(outcome(whole.subarray(0, length)), `cut at ${length}`).toEqual(expected.get(length) ?? "RangeError");
    }
  });

  test("arbitrary bytes never do worse than throw a RangeError or TypeError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        expect([expect.any(Object), "RangeError", "TypeError"]).toContainEqual(outcome(Buffer.from(bytes)));
      }),
    );
  });

  test("data is a view of the message and not a copy", () => {
    const message = oracleEncodeWrite({ data: Buffer.from("abc") });
    const { data } = decodeWriteRequest(message);
    expect(data.toString()).toBe("abc");
    expect(data.buffer).toBe(message.buffer);
  });

  test.each([
    ["an offset that is length-delimited", encoded((w) => w.uint32(tag(2, LENGTH_DELIMITED)).bytes(Buffer.alloc(3)))],
    ["data that is a varint", encoded((w) => w.uint32(tag(10, VARINT)).uint32(1))],
    ["a name that is fixed64", encoded((w) => w.uint32(tag(1, FIXED64)).fixed64(1))],
    ["a varint of 11 bytes", Buffer.from([tag(2, VARINT), ...Array<number>(10).fill(0x80), 1])],
    ["a length of more than 32 bits", Buffer.from([tag(10, LENGTH_DELIMITED), 0xff, 0xff, 0xff, 0xff, 0x1f])],
    ["data longer than the message", Buffer.from([tag(10, LENGTH_DELIMITED), 5, 1, 2])],
    ["field number 0", Buffer.from([0, 0])],
    ["an unknown wire type", Buffer.from([tag(20, 6)])],
    ["a group that ends as another", encoded((w) => w.uint32(tag(20, 3)).uint32(tag(21, 4)))],
    ["a group that never ends", encoded((w) => w.uint32(tag(20, 3)))],
    ["groups nested past the limit", Buffer.concat([...Array<Buffer>(200).fill(encoded((w) => w.uint32(tag(20, 3))))])],
    ["the end of a group that never began", encoded((w) => w.uint32(tag(20, 4)))],
  ])("%s throws", (_name, bytes) => {
    expect(["RangeError", "TypeError"]).toContain(outcome(bytes));
  });
});

describe("ReadResponse", () => {
  test("any data that is not empty encodes to the bytes that protobufjs makes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 500 }), (data) => {
        expect(encodeReadResponse({ data })).toEqual(oracleEncodeRead({ data }));
      }),
    );
  });

  test.each([1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])("%i bytes, around a longer length prefix", (size) => {
    const data = Buffer.alloc(size, 1);
    expect(encodeReadResponse({ data }).equals(oracleEncodeRead({ data }))).toBe(true);
  });

  test("no data encodes to the empty message, where protobufjs spends two bytes to say so", () => {
    expect(encodeReadResponse({}).length).toBe(0);
    expect(encodeReadResponse({ data: new Uint8Array(0) }).length).toBe(0);
  });
});

function longOf(value: bigint): protobuf.Long {
  const { lo, hi } = { lo: Number(BigInt.asIntN(32, value)), hi: Number(BigInt.asIntN(32, value >> 32n)) };
  return protobuf.util.LongBits.prototype.toLong.call(
    new protobuf.util.LongBits(lo >>> 0, hi >>> 0),
    false,
  ) as protobuf.Long;
}

function tag(fieldNumber: number, wireType: number): number {
  return ((fieldNumber << 3) | wireType) >>> 0;
}

function encoded(...fields: Field[]): Buffer {
  const writer = protobuf.Writer.create();
  for (const field of fields) field(writer);
  return Buffer.from(writer.finish());
}

/** What came of decoding: the message, or the name of the error. */
function outcome(bytes: Buffer): unknown {
  try {
    return decodeWriteRequest(bytes);
  } catch (error) {
    return (error as Error).name;
  }
}
