import { CacheError } from "../cache/cache-error.ts";
import { type Digest, digestName } from "../cache/digest.ts";

/** Version, so that a token of another release is refused instead of misread. */
const PREFIX = "t1";
const PLACE = /^[1-9][0-9]{0,9}$/;

/**
 * Names a place in the walk of one tree. The walk is a pure function of the tree, so the token holds all there is to
 * know, and the server keeps nothing between calls.
 * @param place directories before it, from 1 up.
 */
export function formatPageToken(root: Digest, place: number): string {
  return Buffer.from(`${PREFIX} ${digestName(root)} ${place}`).toString("base64url");
}

/**
 * @returns directories to skip; 0 for the empty token.
 * @throws {CacheError} invalid_argument where it is no token, or one of another tree.
 */
export function parsePageToken(token: string, root: Digest): number {
  if (token === "") return 0;
  const [prefix, name, place = ""] = Buffer.from(token, "base64url").toString().split(" ");
  const isOfThisTree = prefix === PREFIX && name === digestName(root) && PLACE.test(place);
  // Decoding base64 forgives a lot; a token that does not come out the same was not made here.
  if (isOfThisTree && formatPageToken(root, Number(place)) === token) return Number(place);
  throw new CacheError(
    "invalid_argument",
    "page_token: expected the next_page_token of an answer for this root_digest",
  );
}
