import { hash } from "node:crypto";
import { hexKeyWords, KEY_BYTES, keyWords } from "./key-words.ts";
import { DIGEST_FUNCTIONS, type Digest, type DigestFunctionName, type DigestHash } from "./digest.ts";

/**
 * Key spaces of the engine, written to disk in each record: numbers are never reused.
 * CAS spaces are `CAS_SPACE_BASE +` the REAPI number of the digest function, so that the function is part of the key.
 */
const CAS_SPACE_BASE = 0;
/** Plus the space of a blob, or of its recipe: where instances do not share blobs, see instance-entry-store.ts. */
const INSTANCE_SPACE_BASE = 32;
export const ACTION_CACHE_SPACE = 64;
const ASSET_SPACE = 80;
/** Content on its way from an origin, whose digest is known only at its end. Nobody looks these up again. */
const ORIGIN_CONTENT_SPACE = 81;
/** Values that build tools name themselves, a space for each protocol. */
export const VALUE_SPACES = {
  gradle: 96,
  nx: 97,
  turborepo: 98,
  ccache: 99,
  sccache: 100,
  metro: 101,
  xcode: 102,
} as const;
/** Plus the space of the blob. */
const RECIPE_SPACE_BASE = 128;

/** A protocol whose values have names instead of digests. */
export type ValueProtocol = keyof typeof VALUE_SPACES;

/** What the engine files an entry under. */
export interface EntryKey {
  /** 0 to 255, see the constants above. */
  readonly space: number;
  /**
   * 32 bytes: a hash, with zeros behind a shorter one, or the SHA-256 of what is longer; see key-words.ts. Of these
   * words the first four are evenly distributed, and the index places entries by no others.
   */
  readonly words: Int32Array;
  /** For CAS entries the size is part of the key; undefined where the key does not fix it. */
  readonly sizeBytes: number | undefined;
  /** What a CAS entry is verified against where its words are not those of its hash. */
  readonly contentWords?: Int32Array;
  /** On whose account an upload goes, by number: no part of what it is found by. Undefined: nobody's. */
  readonly owner?: number;
}

/** A CAS entry is verified against its key by the engine; other entries are kept as given. */
export function isContentAddressed(key: EntryKey): boolean {
  return key.space < ACTION_CACHE_SPACE;
}

/** Whether a record of this space tells by itself what its contents have to hash to. */
export function isKeyedByContent(space: number): boolean {
  return space < INSTANCE_SPACE_BASE;
}

/** Whether entries of this space can be kept apart by instance: blobs, and recipes of blobs. */
export function isScopable(space: number): boolean {
  return isKeyedByContent(space) || (space >= RECIPE_SPACE_BASE && isKeyedByContent(space - RECIPE_SPACE_BASE));
}

/** Where an entry of this space is filed when it belongs to one instance. */
export function instanceSpace(space: number): number {
  return INSTANCE_SPACE_BASE + space;
}

export function casSpace(fn: DigestFunctionName): number {
  return CAS_SPACE_BASE + DIGEST_FUNCTIONS[fn].number;
}

export function casKey(digest: Digest): EntryKey & { readonly sizeBytes: number } {
  return {
    space: casSpace(digest.fn),
    words: hashKeyWords(digest.hash),
    sizeBytes: digest.sizeBytes,
  };
}

/** For whoever does not know the size: finds the blob whatever it is, and takes an upload of whatever size. */
export function casHashKey({ fn, hash: hex }: DigestHash): EntryKey {
  return { space: casSpace(fn), words: hashKeyWords(hex), sizeBytes: undefined };
}

/** The recipe of a blob, by the key of the blob; what is said of it there, its size, is in the recipe. */
export function recipeKey({ space, words }: EntryKey): EntryKey {
  return { space: RECIPE_SPACE_BASE + space, words, sizeBytes: undefined };
}

/** @param hex lower-case, and not checked here. */
export function hashKeyWords(hex: string): Int32Array {
  return hex.length <= KEY_BYTES * 2 ? hexKeyWords(hex) : keyWords(hashKeyBytes(Buffer.from(hex, "hex")));
}

/** The 32 bytes that a hash is filed under. */
export function hashKeyBytes(bytes: Uint8Array): Uint8Array {
  if (bytes.length === KEY_BYTES) return bytes;
  if (bytes.length > KEY_BYTES) return hash("sha256", bytes, "buffer");
  const key = new Uint8Array(KEY_BYTES);
  key.set(bytes);
  return key;
}

const FUNCTION_OF_SPACE: ReadonlyMap<number, DigestFunctionName> = new Map(
  Object.entries(DIGEST_FUNCTIONS).map(([name, { number }]) => [CAS_SPACE_BASE + number, name as DigestFunctionName]),
);

/** The function that verifies entries of a content-addressed key space. */
export function digestFunctionOfSpace(space: number): DigestFunctionName {
  const fn = FUNCTION_OF_SPACE.get(isKeyedByContent(space) ? space : space - INSTANCE_SPACE_BASE);
  if (fn === undefined) throw new RangeError(`key space ${space}: no digest function`);
  return fn;
}

/**
 * What an action result is found by, as one text. Results are scoped by instance name (HAZARDS H21). The size of the
 * action is left out: who asks over HTTP does not know it, and the hash says it all.
 */
export function actionName(instanceName: string, { fn, hash: hex }: DigestHash): string {
  return `${instanceName}\0${fn}\0${hex}`;
}

export function actionKey(instanceName: string, action: DigestHash): EntryKey {
  return nameKey(ACTION_CACHE_SPACE, actionName(instanceName, action));
}

/** @param name everything that the asset is found by, in one unambiguous text. */
export function assetKey(name: string): EntryKey {
  return nameKey(ASSET_SPACE, name);
}

/** A key that nobody else has. @param random 32 random bytes. */
export function originContentKey(random: Uint8Array): EntryKey {
  return { space: ORIGIN_CONTENT_SPACE, words: keyWords(random), sizeBytes: undefined };
}

/** @param name everything that the entry is found by in its space, in one unambiguous text. */
export function nameKey(space: number, name: string): EntryKey {
  return { space, words: keyWords(hash("sha256", name, "buffer")), sizeBytes: undefined };
}
