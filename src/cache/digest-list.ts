import { DIGEST_FUNCTIONS, type Digest, type DigestFunctionName } from "./digest.ts";
import { hashKeyWords } from "./entry-key.ts";
import { KEY_BYTES, KEY_WORDS, readHexKeyWords } from "./key-words.ts";

/**
 * Digests of one function side by side in flat arrays, in the form in which they are looked up: lists are long, and
 * an object for each costs more than its look-up.
 *
 *     words   │ 8 words of digest 0 │ 8 words of digest 1 │ …
 *     sizes   │ 0 │ 1 │ …
 */
export class DigestList {
  readonly fn: DigestFunctionName;
  readonly words: Int32Array;
  readonly sizes: Float64Array;
  count = 0;

  constructor(fn: DigestFunctionName, countMax: number) {
    this.fn = fn;
    this.words = new Int32Array(countMax * KEY_WORDS);
    this.sizes = new Float64Array(countMax);
  }

  /** @param digests all of the same function. */
  static of(digests: readonly Digest[]): DigestList {
    const list = new DigestList(digests[0]?.fn ?? "sha256", digests.length);
    for (const digest of digests) list.add(digest);
    return list;
  }

  /** @param digest of the list's function. */
  add({ hash, sizeBytes }: Digest): void {
    this.words.set(hashKeyWords(hash), this.count * KEY_WORDS);
    this.sizes[this.count] = sizeBytes;
    this.count += 1;
  }

  /**
   * Adds a digest that came from a client, by the rules of `parseDigest`.
   * @param bytes hold the hash from `at` on, in hex.
   * @returns false where it breaks one of them, or its hash is of another length than a key; then nothing was added.
   */
  tryAdd(bytes: Uint8Array, at: number, hashCharacters: number, sizeBytes: number): boolean {
    const { hashBytes } = DIGEST_FUNCTIONS[this.fn];
    const wordsAt = this.count * KEY_WORDS;
    const isOfKeyLength = hashBytes === KEY_BYTES && hashCharacters === 2 * KEY_BYTES;
    const isHash = isOfKeyLength && readHexKeyWords(bytes, at, this.words, wordsAt);
    if (!isHash || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return false;
    if ((sizeBytes === 0) !== this.isEmptyHash(wordsAt)) return false;
    this.sizes[this.count] = sizeBytes;
    this.count += 1;
    return true;
  }

  private isEmptyHash(wordsAt: number): boolean {
    const emptyWords = EMPTY_WORDS[this.fn];
    for (let i = 0; i < KEY_WORDS; i += 1) if (this.words[wordsAt + i] !== emptyWords[i]) return false;
    return true;
  }
}

const EMPTY_WORDS = Object.fromEntries(
  Object.entries(DIGEST_FUNCTIONS).map(([fn, { emptyHash }]) => [fn, hashKeyWords(emptyHash)]),
) as Readonly<Record<DigestFunctionName, Int32Array>>;
