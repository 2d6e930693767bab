import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConnectionError, ERROR_CODE } from "../../../src/http2/error-code.ts";
import { encodeHeaderBlock, encodeInteger, encodeString } from "../../../src/http2/hpack/encode-header-block.ts";
import { HpackDecoder } from "../../../src/http2/hpack/hpack-decoder.ts";
import { HPACK_EXAMPLES } from "./hpack-vectors.ts";

function decoderOf(tableBytesMax = 4096, listBytesMax = 65_536): (block: Buffer) => readonly string[] | undefined {
  const decoder = new HpackDecoder({ tableBytesMax, listBytesMax });
  return (block) => decoder.decode(block, 0, block.length)?.flat;
}

/** A literal that is inserted into the table. */
function inserted(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0x40]), encodeString(name), encodeString(value)]);
}

/** @param index of the dynamic table, from 0, the newest. */
function indexed(index: number): Buffer {
  return encodeInteger(0x80, 0x7f, 62 + index);
}

function resized(bytes: number): Buffer {
  return encodeInteger(0x20, 0x1f, bytes);
}

const token = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
const latin1 = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("latin1"));

describe("examples of RFC 7541", () => {
  test.each(HPACK_EXAMPLES.map((example) => [example.name, example] as const))(
    "%s",
    (_name, { tableBytes, blocks }) => {
      const decode = decoderOf(tableBytes);
      for (const { hex, fields } of blocks) expect(decode(Buffer.from(hex, "hex"))).toEqual(fields);
    },
  );

  test.each([
    [10, 0x1f, "0a"],
    [1337, 0x1f, "1f9a0a"],
    [42, 0xff, "2a"],
  ])("C.1 the integer %i", (value, mask, hex) => {
    expect(encodeInteger(0, mask, value).toString("hex")).toBe(hex);
  });
});

describe("round trips", () => {
  test("any fields come back from the encoder's block", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(token, latin1), { maxLength: 20 }), (fields) => {
        expect(decoderOf()(encodeHeaderBlock(fields))).toEqual(fields.flat());
      }),
    );
  });

  test("the decoder agrees with a plain model of the table, whatever is inserted, referred to and resized", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("insert" as const), name: token, value: token }),
      fc.record({ kind: fc.constant("index" as const), index: fc.nat(12) }),
      fc.record({ kind: fc.constant("resize" as const), bytes: fc.nat(300) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const decode = decoderOf(300);
        let bytesMax = 300;
        let table: [string, string][] = [];
        const evict = (): void => {
          const sizes = table.map(([name, value]) => name.length + value.length + 32);
          while (sizes.reduce((sum, bytes) => sum + bytes, 0) > bytesMax) {
            sizes.pop();
            table.pop();
          }
        };
        for (const each of steps) {
          if (each.kind === "index" && each.index >= table.length) continue;
          if (each.kind === "resize") bytesMax = each.bytes;
          if (each.kind === "insert") table = [[each.name, each.value], ...table];
          evict();
          const [block, fields] =
            each.kind === "resize"
              ? [resized(each.bytes), []]
              : each.kind === "insert"
                ? [inserted(each.name, each.value), [each.name, each.value]]
                : [indexed(each.index), table[each.index]];
          expect(decode(block)).toEqual(fields);
        }
      }),
    );
  });
});

describe("the cache of blocks", () => {
  test("a block of static fields is decoded once", () => {
    const decoder = new HpackDecoder({ tableBytesMax: 4096, listBytesMax: 4096 });
    const block = encodeHeaderBlock([
      [":method", "POST"],
      ["x-plain", "a"],
    ]);
    const first = decoder.decode(block, 0, block.length);
    expect(decoder.decode(Buffer.from(block), 0, block.length)).toBe(first);
  });

  test("a block that refers to the table is decoded once until the table changes, and then anew", () => {
    const decoder = new HpackDecoder({ tableBytesMax: 4096, listBytesMax: 4096 });
    const decode = (block: Buffer) => decoder.decode(block, 0, block.length);
    decode(inserted("name", "one"));
    const one = decode(indexed(0));
    expect(decode(indexed(0))).toBe(one);
    decode(inserted("name", "two"));
    expect(decode(indexed(0))?.flat).toEqual(["name", "two"]);
    expect(decode(indexed(1))?.flat).toEqual(["name", "one"]);
    decode(resized(0));
    expect(() => decode(indexed(0))).toThrow(ConnectionError);
  });

  test("a block that inserts has its effect each time", () => {
    const decode = decoderOf();
    for (let count = 0; count < 3; count++) expect(decode(inserted("a", "b"))).toEqual(["a", "b"]);
    expect(decode(indexed(2))).toEqual(["a", "b"]);
    expect(() => decode(indexed(3))).toThrow(ConnectionError);
  });
});

describe("limits", () => {
  test("more fields than are taken give nothing, and the table is as it has to be", () => {
    const decode = decoderOf(4096, 100);
    expect(
      decode(Buffer.concat([inserted("a", "1"), inserted("b", "x".repeat(50)), inserted("c", "3")])),
    ).toBeUndefined();
    expect(decode(indexed(0))).toEqual(["c", "3"]);
    expect(decode(indexed(2))).toEqual(["a", "1"]);
  });

  test("a small block that refers to a large entry a thousand times is not expanded", () => {
    const decode = decoderOf(4096, 8192);
    decode(inserted("bomb", "x".repeat(4000)));
    expect(decode(Buffer.alloc(1000, indexed(0)))).toBeUndefined();
  });
});

describe("malformed blocks are COMPRESSION_ERRORs", () => {
  test.each([
    ["index 0", "80"],
    ["an index past the table", "be"],
    ["a name index past the table", "7f00"],
    ["an integer that never ends", "ffffffffffffffffffff7f"],
    ["an integer cut short", "ff"],
    ["a text longer than the block", "40056162"],
    ["a text cut short by its Huffman code", "4001618118"],
    ["a resize over what was allowed", "3fe21f"],
    ["a resize after a field", "8220"],
    ["a name without a value", "400161"],
  ])("%s", (_what, hex) => {
    const decode = decoderOf();
    expect(() => decode(Buffer.from(hex, "hex"))).toThrow(
      expect.objectContaining({ name: "ConnectionError", code: ERROR_CODE.compressionError }),
    );
  });

  test("no bytes make it throw anything else", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 5 }), (blocks) => {
        const decode = decoderOf(200, 500);
        try {
          for (const block of blocks) decode(Buffer.from(block));
        } catch (error) {
          return error instanceof ConnectionError;
        }
        return true;
      }),
      { numRuns: 2000 },
    );
  });
});
