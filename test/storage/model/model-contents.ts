import { keyWords } from "../../../src/cache/key-words.ts";
import { hash } from "node:crypto";
import { ACTION_CACHE_SPACE, type EntryKey } from "../../../src/cache/entry-key.ts";
import { type CasContent, contentOf } from "../../support/cas-content.ts";
import { textOf } from "../../support/zstd-data.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const KIB = 1024;

/** From here on the engine of the model stages uploads in files; adopted ones are larger still. */
export const SLAB_UPLOAD_BYTES_MAX = 48 * KIB;
export const ADOPT_BYTES_MIN = 96 * KIB;

/** On both sides of a sector, a slab block, the two sizes above; and many of the size that fills a store. */
const BLOB_SIZES = [
  0,
  1,
  7,
  400,
  511,
  513,
  3 * KIB,
  32 * KIB - 1,
  32 * KIB + 1,
  SLAB_UPLOAD_BYTES_MAX,
  SLAB_UPLOAD_BYTES_MAX + 1,
  80 * KIB,
  ADOPT_BYTES_MIN - 1,
  ADOPT_BYTES_MIN,
  150 * KIB,
  ...Array.from({ length: 30 }, (_, i) => 200 + i * 97),
  ...Array.from({ length: 75 }, (_, i) => 8 * KIB + i * 211),
];

const random = seededRandom("the contents of the engine model");

/** The same for every seed, so that they are hashed once. Every other one compresses to half of its size. */
export const BLOBS: readonly CasContent[] = BLOB_SIZES.map((sizeBytes, i) =>
  contentOf(i % 2 === 0 ? random.bytes(sizeBytes) : textOf(random, sizeBytes)),
);

export const ACTION_COUNT = 6;
const ACTION_SIZES = [8, 90, 700, 2500, 9000, SLAB_UPLOAD_BYTES_MAX + 5, ADOPT_BYTES_MIN + 3];
const NOISE = random.bytes(256 * KIB);

const ACTION_KEYS: readonly EntryKey[] = Array.from({ length: ACTION_COUNT }, (_, action) => ({
  space: ACTION_CACHE_SPACE,
  words: keyWords(hash("sha256", `action ${action}`, "buffer")),
  sizeBytes: undefined,
}));

export function actionKeyOf(action: number): EntryKey {
  const key = ACTION_KEYS[action % ACTION_COUNT];
  if (key === undefined) throw new RangeError(`action ${action}`);
  return key;
}

export function blobOf(blob: number): CasContent {
  const content = BLOBS[blob % BLOBS.length];
  if (content === undefined) throw new RangeError(`blob ${blob}`);
  return content;
}

/** The value that an action's key was given by its `version`th update: it tells which one it is. */
export function actionValue(action: number, version: number): Buffer {
  const sizeBytes = ACTION_SIZES[(version * 5 + action) % ACTION_SIZES.length] ?? 8;
  const start = (version * 7919 + action * 104_729) % (NOISE.length - sizeBytes);
  const bytes = Buffer.from(NOISE.subarray(start, start + sizeBytes));
  bytes.writeUInt32LE(action % ACTION_COUNT, 0);
  bytes.writeUInt32LE(version, 4);
  return bytes;
}

/** @returns the version whose value these bytes are, or undefined. */
export function versionOf(action: number, bytes: Buffer): number | undefined {
  if (bytes.length < 8 || bytes.readUInt32LE(0) !== action % ACTION_COUNT) return undefined;
  const version = bytes.readUInt32LE(4);
  return actionValue(action % ACTION_COUNT, version).equals(bytes) ? version : undefined;
}
