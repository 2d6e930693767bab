import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { huffmanCodes } from "../../../src/http2/hpack/huffman-code.ts";
import { decodeHuffman } from "../../../src/http2/hpack/huffman-decoder.ts";
import { encodeHuffman, huffmanBytes } from "../../../src/http2/hpack/huffman-encoder.ts";

function decode(bytes: Buffer): string | undefined {
  return decodeHuffman(bytes, 0, bytes.length);
}

describe("the Huffman code", () => {
  test("is complete and free of prefixes: its 257 codes fill the whole tree", () => {
    const codes = huffmanCodes();
    expect(codes.length).toBe(257);
    expect(codes.reduce((sum, { bits }) => sum + 2 ** -bits, 0)).toBe(1);
    expect(new Set(codes.map(({ symbol }) => symbol)).size).toBe(257);
  });

  test.each([
    ["0", 0, 5],
    ["t", 0x9, 5],
    [" ", 0x14, 6],
    [":", 0x5c, 7],
    ["Z", 0xfd, 8],
    ["{", 0x7ffe, 15],
    ["\x16", 0x3ffffffe, 30],
  ])("gives %j the code of RFC 7541", (text, code, bits) => {
    expect(huffmanCodes().find(({ symbol }) => symbol === text.charCodeAt(0))).toMatchObject({ code, bits });
  });
});

describe("encoding and decoding", () => {
  test("any bytes come back as they were", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const encoded = encodeHuffman(Buffer.from(bytes));
        expect(encoded.length).toBe(huffmanBytes(Buffer.from(bytes)));
        expect(decode(encoded)).toBe(Buffer.from(bytes).toString("latin1"));
      }),
    );
  });

  test("a text longer than the buffer that is kept for decoding comes back, too", () => {
    const text = "kura".repeat(5000);
    expect(decode(encodeHuffman(Buffer.from(text)))).toBe(text);
  });

  test("no bytes make it throw, and what it accepts encodes to the same bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const text = decode(Buffer.from(bytes));
        return text === undefined || encodeHuffman(Buffer.from(text, "latin1")).equals(bytes);
      }),
    );
  });

  test.each([
    ["padding of 11 bits", "1fff"],
    ["padding of zeros", "18"],
    ["the whole EOS symbol", "ffffffff"],
    ["a code that is cut short in its first byte of ones", "fffe"],
  ])("%s is refused", (_what, hex) => {
    expect(decode(Buffer.from(hex, "hex"))).toBeUndefined();
  });
});
