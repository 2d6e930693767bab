import { HUFFMAN_EOS, huffmanCodes } from "./huffman-code.ts";

const CODES = new Uint32Array(257);
const BITS = new Uint8Array(257);
for (const { symbol, code, bits } of huffmanCodes()) {
  CODES[symbol] = code;
  BITS[symbol] = bits;
}

/** Bytes that {@link encodeHuffman} will give for this latin1 text. */
export function huffmanBytes(text: Buffer): number {
  let bits = 0;
  for (const symbol of text) bits += BITS[symbol]!;
  return Math.ceil(bits / 8);
}

export function encodeHuffman(text: Buffer): Buffer {
  const encoded = Buffer.alloc(huffmanBytes(text));
  let filled = 0;
  let pending = 0;
  let pendingBits = 0;
  const put = (code: number, bits: number): void => {
    // Bit by bit would do; by up to 8 is faster, and shifts stay below 32 bits.
    for (let left = bits; left > 0;) {
      const take = Math.min(left, 8 - pendingBits);
      pending = (pending << take) | ((code >>> (left - take)) & ((1 << take) - 1));
      pendingBits += take;
      left -= take;
      if (pendingBits < 8) continue;
      encoded[filled++] = pending;
      pending = 0;
      pendingBits = 0;
    }
  };
  for (const symbol of text) put(CODES[symbol]!, BITS[symbol]!);
  // Padded with the first bits of EOS, which are ones.
  if (pendingBits > 0) put(CODES[HUFFMAN_EOS]! >>> (BITS[HUFFMAN_EOS]! - (8 - pendingBits)), 8 - pendingBits);
  return encoded;
}
