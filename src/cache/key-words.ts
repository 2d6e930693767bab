/** The eight words of a 32-byte key, little-endian: how the index holds keys and compares them. */
export const KEY_WORDS = 8;
const WORD_BYTES = 4;
export const KEY_BYTES = KEY_WORDS * WORD_BYTES;

export function keyWords(bytes: Uint8Array): Int32Array {
  const words = new Int32Array(KEY_WORDS);
  for (let i = 0; i < KEY_WORDS; i += 1) {
    const at = i * WORD_BYTES;
    words[i] =
      (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
  }
  return words;
}

/** The same of up to 64 lower-case hex digits, eight a word, which are not checked here. The words behind them are 0. */
export function hexKeyWords(hex: string): Int32Array {
  const words = new Int32Array(KEY_WORDS);
  const wordCount = hex.length >> 3;
  for (let i = 0; i < wordCount; i += 1) {
    const at = i * WORD_BYTES * 2;
    words[i] =
      hexByte(hex, at) | (hexByte(hex, at + 2) << 8) | (hexByte(hex, at + 4) << 16) | (hexByte(hex, at + 6) << 24);
  }
  return words;
}

/**
 * The same of 64 bytes of ASCII, which are checked.
 * @param wordsAt where in `words` they go.
 * @returns whether they are all lower-case hex digits.
 */
export function readHexKeyWords(bytes: Uint8Array, start: number, words: Int32Array, wordsAt: number): boolean {
  let seen = 0;
  let at = start;
  for (let i = 0; i < KEY_WORDS; i += 1) {
    let word = 0;
    for (let shift = 0; shift < 32; shift += 8) {
      const high = HEX_DIGITS[bytes[at]!]!;
      const low = HEX_DIGITS[bytes[at + 1]!]!;
      seen |= high | low;
      word |= ((high << 4) | low) << shift;
      at += 2;
    }
    words[wordsAt + i] = word;
  }
  return seen < NO_HEX_DIGIT;
}

/** The 32 bytes of a key, in memory of their own. */
export function keyBytes(words: Int32Array): Uint8Array {
  const bytes = new Uint8Array(KEY_BYTES);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = (words[i >> 2] ?? 0) >>> ((i & 3) * 8);
  return bytes;
}

function hexByte(hex: string, at: number): number {
  return (hexDigit(hex.charCodeAt(at)) << 4) | hexDigit(hex.charCodeAt(at + 1));
}

/** '0' is 48, 'a' is 97. */
function hexDigit(code: number): number {
  return code < 97 ? code - 48 : code - 87;
}

/** More than any digit. */
const NO_HEX_DIGIT = 0x80;
/** The value of each lower-case hex digit, by its ASCII code. */
const HEX_DIGITS = new Uint8Array(256).fill(NO_HEX_DIGIT);
for (const [value, code] of Buffer.from("0123456789abcdef").entries()) HEX_DIGITS[code] = value;
