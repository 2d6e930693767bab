import fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import { decodeWriteRequest, WriteRequestParts } from "../../src/grpc/proto-byte-stream-codec.ts";
import type { WriteRequest } from "../../src/grpc/byte-stream-messages.ts";

const VARINT = 0;
const LENGTH_DELIMITED = 2;

interface Fields {
  readonly name: string;
  readonly offset: number;
  readonly finish: boolean;
  readonly data: Uint8Array;
}

/** As clients encode it: in the order of the numbers, with defaults left out. */
function encoded({ name, offset, finish, data }: Fields): Buffer {
  const writer = protobuf.Writer.create();
  if (name !== "") writer.uint32((1 << 3) | LENGTH_DELIMITED).string(name);
  if (offset > 0) writer.uint32((2 << 3) | VARINT).int64(offset);
  if (finish) writer.uint32((3 << 3) | VARINT).bool(true);
  if (data.length > 0) writer.uint32((10 << 3) | LENGTH_DELIMITED).bytes(data);
  return Buffer.from(writer.finish());
}

/** Undefined where the decoder wants the message whole. */
function inParts(parts: readonly Buffer[]): WriteRequest[] | undefined {
  const decoder = new WriteRequestParts();
  const first = decoder.begin(parts[0] ?? Buffer.alloc(0));
  if (first === undefined) return undefined;
  const requests = [first];
  for (const [index, part] of parts.entries()) {
    if (index === 0) continue;
    const request = decoder.continue(part, index === parts.length - 1);
    if (request !== undefined) requests.push(request);
  }
  return requests;
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set([0, ...places.map((part) => Math.floor(part * bytes.length)), bytes.length])].toSorted(
    (a, b) => a - b,
  );
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

const fields = fc.record({
  name: fc.constantFrom("", "uploads/u/blobs/h/5"),
  offset: fc.nat(1_000_000),
  finish: fc.boolean(),
  data: fc.uint8Array({ maxLength: 300 }),
});

describe("a WriteRequest in parts", () => {
  test("says the same as the whole, wherever it is cut", () => {
    const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fields, places, (message, at) => {
        const bytes = encoded(message);
        const parts = cut(bytes, at);
        const requests = inParts(parts);
        fc.pre(parts.length > 1 && requests !== undefined);
        const whole = decodeWriteRequest(bytes);
        let offset = whole.write_offset;
        for (const [index, request] of requests.entries()) {
          expect(request.write_offset).toBe(offset);
          expect(request.finish_write).toBe(whole.finish_write && index === requests.length - 1);
          expect(request.resource_name).toBe(index === 0 ? whole.resource_name : "");
          offset += request.data.length;
        }
        expect(Buffer.concat(requests.map(({ data }) => data)).equals(whole.data)).toBe(true);
      }),
    );
  });

  test("is taken where the cut is in the data, as it nearly always is", () => {
    const bytes = encoded({ name: "uploads/u/blobs/h/5", offset: 0, finish: true, data: Buffer.alloc(16_384, 1) });
    expect(inParts([bytes.subarray(0, 16_000), bytes.subarray(16_000)])?.map(({ data }) => data.length)).toEqual([
      15_973, 411,
    ]);
  });

  test("is asked for whole where the data comes before what has to be known of it", () => {
    const withoutOffset = encoded({ name: "", offset: 0, finish: false, data: Buffer.alloc(100) });
    expect(inParts(cut(withoutOffset, [0.5]))).toBeUndefined();
    const named = encoded({ name: "uploads/u/blobs/h/5", offset: 3, finish: false, data: Buffer.alloc(100) });
    expect(inParts([named.subarray(0, 10), named.subarray(10)])).toBeUndefined();
  });

  test("may carry finish_write behind the data", () => {
    const bytes = Buffer.concat([
      encoded({ name: "n", offset: 0, finish: false, data: Buffer.from("data") }),
      encoded({ name: "", offset: 0, finish: true, data: Buffer.alloc(0) }),
    ]);
    const requests = inParts([bytes.subarray(0, 6), bytes.subarray(6, 10), bytes.subarray(10)]);
    expect(requests?.map(({ finish_write }) => finish_write)).toEqual([false, false, true]);
  });

  test.each([
    ["another offset", encoded({ name: "", offset: 9, finish: false, data: Buffer.alloc(0) }), "a field after data"],
    ["more data", encoded({ name: "", offset: 0, finish: false, data: Buffer.from("x") }), "a field after data"],
    ["garbage", Buffer.from([0xff]), "truncated"],
    ["a kilobyte", Buffer.alloc(1100, Buffer.from([0x18, 1])), "more than 1024 bytes"],
  ])("%s behind the data is an error", (_what, tail, message) => {
    const bytes = encoded({ name: "n", offset: 0, finish: false, data: Buffer.from("data") });
    expect(() => inParts([bytes.subarray(0, 6), bytes.subarray(6), tail])).toThrow(message);
  });

  test("data longer than the message is an error", () => {
    const bytes = encoded({ name: "n", offset: 0, finish: false, data: Buffer.alloc(100) });
    expect(() => inParts([bytes.subarray(0, 20), bytes.subarray(20, 50)])).toThrow(RangeError);
  });
});
