import { hash } from "node:crypto";
import { hexKeyWords, keyWords } from "./key-words.ts";
import { DIGEST_FUNCTIONS, type Digest, type DigestFunctionName, digestToString } from "./digest.ts";

/**
 * Key spaces of the engine, written to disk in each record: numbers are never reused.
 * CAS spaces are `CAS_SPACE_BASE +` the REAPI number of the digest function, so that the function is part of the key.
 */
export const CAS_SPACE_BASE = 0;
export const ACTION_CACHE_SPACE = 64;
const ASSET_SPACE = 80;
/** Content on its way from an origin, whose digest is known only at its end. Nobody looks these up again. */
const ORIGIN_CONTENT_SPACE = 81;

/** What the engine files an entry under. */
export interface EntryKey {
  /** 0 to 255, see the constants above. */
  readonly space: number;
  /** 32 bytes, evenly distributed: a hash, or the SHA-256 of a longer name; see key-words.ts. */
  readonly words: Int32Array;
  /** For CAS entries the size is part of the key; undefined where the key does not fix it. */
  readonly sizeBytes: number | undefined;
}

/** A CAS entry is verified against its key by the engine; other entries are kept as given. */
export function isContentAddressed(key: EntryKey): boolean {
  return isContentAddressedSpace(key.space);
}

export function isContentAddressedSpace(space: number): boolean {
  return space < ACTION_CACHE_SPACE;
}

export function casSpace(fn: DigestFunctionName): number {
  return CAS_SPACE_BASE + DIGEST_FUNCTIONS[fn].number;
}

export function casKey(digest: Digest): EntryKey {
  return {
    space: casSpace(digest.fn),
    words: hexKeyWords(digest.hash),
    sizeBytes: digest.sizeBytes,
  };
}

/** Action results are scoped by instance name (HAZARDS H21): the instance is hashed into the key. */
export function actionKey(instanceName: string, action: Digest): EntryKey {
  const name = `${instanceName}\0${action.fn}\0${digestToString(action)}`;
  return { space: ACTION_CACHE_SPACE, words: keyWords(hash("sha256", name, "buffer")), sizeBytes: undefined };
}

/** @param name everything that the asset is found by, in one unambiguous text. */
export function assetKey(name: string): EntryKey {
  return { space: ASSET_SPACE, words: keyWords(hash("sha256", name, "buffer")), sizeBytes: undefined };
}

/** A key that nobody else has. @param random 32 random bytes. */
export function originContentKey(random: Uint8Array): EntryKey {
  return { space: ORIGIN_CONTENT_SPACE, words: keyWords(random), sizeBytes: undefined };
}
