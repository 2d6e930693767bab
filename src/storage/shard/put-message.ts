import { KEY_WORDS, keyBytes, keyWords } from "../../cache/key-words.ts";
import type { PutOutcome, PutRequest, StagedSource } from "./shard-protocol.ts";

/**
 * Uploads on their way to a shard, and what became of them on the way back. A message between threads is cloned, and
 * an object for each upload costs more than all that the shard does for a small one; so they are words, one upload
 * behind the other:
 *
 *     0        1          2         3        4        5            6      7         8          9         10..17  18 …
 *     space, content-   size low  size high  start  blocks, or   paths'  encoding  staged    staged    key     the numbers
 *     owner  addressed                              -1: a file   index             low       high              of the blocks
 *
 * The owner stands in the bits above the space. With 2 in word 1 the content key comes before the numbers of the blocks.
 */
export interface PutMessage {
  readonly words: Int32Array;
  readonly paths: readonly string[];
}

/** An outcome is 0, stored; 1, present; or 2, failed, with the next of the failures. */
export interface OutcomeMessage {
  readonly codes: Uint8Array;
  readonly failures: readonly PutFailure[];
}

type PutFailure = Extract<PutOutcome, { status: "failed" }>;

const KEY_AT = 10;
const FIXED_WORDS = KEY_AT + KEY_WORDS;
const NOT_ADDRESSED = 0;
const BY_KEY = 1;
const BY_CONTENT_KEY = 2;
const FILE = -1;
const SPACE_BITS = 8;
const UINT32 = 2 ** 32;

/** @param requests none of which is a long one. */
export function encodePuts(requests: readonly PutRequest[]): PutMessage {
  let wordCount = 0;
  for (const { source, contentKey } of requests) {
    wordCount += fixedWords(contentKey !== undefined) + (source.kind === "slab" ? source.blocks.length : 0);
  }
  const words = new Int32Array(wordCount);
  const paths: string[] = [];
  let at = 0;
  for (const {
    space,
    owner,
    key,
    contentAddressed,
    contentKey,
    encoding,
    sizeBytes,
    stagedBytes,
    source,
  } of requests) {
    const blocksAt = at + fixedWords(contentKey !== undefined);
    words[at] = (owner << SPACE_BITS) | space;
    words[at + 1] = contentKey !== undefined ? BY_CONTENT_KEY : contentAddressed ? BY_KEY : NOT_ADDRESSED;
    words[at + 2] = sizeBytes % UINT32;
    words[at + 3] = Math.floor(sizeBytes / UINT32);
    words[at + 7] = encoding;
    words[at + 8] = stagedBytes % UINT32;
    words[at + 9] = Math.floor(stagedBytes / UINT32);
    words.set(keyWords(key), at + KEY_AT);
    if (contentKey !== undefined) words.set(keyWords(contentKey), at + FIXED_WORDS);
    if (source.kind === "slab") {
      words[at + 4] = source.start;
      words[at + 5] = source.blocks.length;
      words.set(source.blocks, blocksAt);
      at = blocksAt + source.blocks.length;
    } else {
      words[at + 5] = FILE;
      words[at + 6] = paths.push(source.path) - 1;
      at = blocksAt;
    }
  }
  return { words, paths };
}

function fixedWords(hasContentKey: boolean): number {
  return hasContentKey ? FIXED_WORDS + KEY_WORDS : FIXED_WORDS;
}

export function decodePuts({ words, paths }: PutMessage): PutRequest[] {
  const requests: PutRequest[] = [];
  for (let at = 0; at < words.length;) {
    const blockCount = words[at + 5] ?? 0;
    const hasContentKey = words[at + 1] === BY_CONTENT_KEY;
    const blocksAt = at + fixedWords(hasContentKey);
    const end = blocksAt + Math.max(0, blockCount);
    const source: StagedSource =
      blockCount === FILE
        ? { kind: "file", path: paths[words[at + 6] ?? 0] ?? "" }
        : { kind: "slab", blocks: Array.from(words.subarray(blocksAt, end)), start: words[at + 4] ?? 0 };
    requests.push({
      space: (words[at] ?? 0) & (2 ** SPACE_BITS - 1),
      owner: (words[at] ?? 0) >>> SPACE_BITS,
      key: keyBytes(words.subarray(at + KEY_AT, at + FIXED_WORDS)),
      contentAddressed: words[at + 1] !== NOT_ADDRESSED,
      ...(hasContentKey ? { contentKey: keyBytes(words.subarray(at + FIXED_WORDS, blocksAt)) } : {}),
      encoding: words[at + 7] ?? 0,
      sizeBytes: uint64(words, at + 2),
      stagedBytes: uint64(words, at + 8),
      source,
      adopt: false,
    });
    at = end;
  }
  return requests;
}

function uint64(words: Int32Array, at: number): number {
  return ((words[at] ?? 0) >>> 0) + (words[at + 1] ?? 0) * UINT32;
}

const CODES = { stored: 0, present: 1, failed: 2 } as const;
const STORED: PutOutcome = { status: "stored" };
const PRESENT: PutOutcome = { status: "present" };

export function encodeOutcomes(outcomes: readonly PutOutcome[]): OutcomeMessage {
  const codes = new Uint8Array(outcomes.length);
  const failures: PutFailure[] = [];
  for (const [position, outcome] of outcomes.entries()) {
    codes[position] = CODES[outcome.status];
    if (outcome.status === "failed") failures.push(outcome);
  }
  return { codes, failures };
}

/** @param count of the uploads that were sent. @throws where there is not an outcome for each. */
export function decodeOutcomes({ codes, failures }: OutcomeMessage, count: number): PutOutcome[] {
  if (codes.length !== count) throw new Error(`put outcomes: expected ${count}, got ${codes.length}`);
  let failuresSeen = 0;
  return Array.from(codes, (code) => {
    if (code === CODES.stored) return STORED;
    if (code === CODES.present) return PRESENT;
    const failure = failures[failuresSeen++];
    if (failure === undefined) throw new Error("put outcomes: a failure without its reason");
    return failure;
  });
}
