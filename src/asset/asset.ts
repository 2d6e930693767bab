import type { Digest, DigestFunctionName } from "../cache/digest.ts";

/** A blob and a directory under the same URI are two assets. */
export type AssetKind = "blob" | "directory";

/** Narrows down what a URI stands for. */
export interface Qualifier {
  readonly name: string;
  readonly value: string;
}

/** Everything that an asset is found by. */
export interface AssetName {
  readonly instanceName: string;
  readonly kind: AssetKind;
  /** Of the digest that is wanted. */
  readonly fn: DigestFunctionName;
  readonly uri: string;
  /** In any order; no name twice. */
  readonly qualifiers: readonly Qualifier[];
}

/** What is filed under a name. */
export interface Asset {
  /** Of the blob, or of the encoded Directory at the root. */
  readonly digest: Digest;
  /** When it was pushed, or when its retrieval was begun: milliseconds since the epoch. */
  readonly storedAtMs: number;
  /** When it stops being found; undefined: never. */
  readonly expireAtMs: number | undefined;
  /** Blobs that have to be there as long as the asset is. */
  readonly blobs: readonly Digest[];
  /** Directories that have to be there, with all below them. */
  readonly directories: readonly Digest[];
}

export type AssetFailureReason =
  | "not_found"
  | "permission_denied"
  | "aborted"
  | "deadline_exceeded"
  | "resource_exhausted"
  | "unavailable";

/**
 * Why there is no content for a URI, for reasons outside of this server: told in the answer of a fetch, where a
 * `CacheError` fails the call itself.
 */
export class AssetFailure extends Error {
  readonly reason: AssetFailureReason;

  constructor(reason: AssetFailureReason, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = "AssetFailure";
    this.reason = reason;
  }
}
