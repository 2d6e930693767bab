import type { Digest, DigestFunctionName } from "./digest.ts";

/** The blobs that an action result names directly. */
export interface ActionResultReferences {
  /** Output files, stdout and stderr: nothing more is behind them. */
  readonly blobs: readonly Digest[];
  /** Encoded Tree messages. */
  readonly trees: readonly Digest[];
  /** Encoded Directory messages, each the root of a tree of them. */
  readonly rootDirectories: readonly Digest[];
}

/** The blobs that a Directory names. */
export interface DirectoryReferences {
  readonly files: readonly Digest[];
  /** Encoded Directory messages. */
  readonly directories: readonly Digest[];
}

/**
 * Finds the digests in encoded messages, so that the domain can follow them without knowing the encoding. Each
 * method throws where the bytes do not decode or a digest in them is absent or invalid.
 */
export interface OutputReferencesReader {
  ofActionResult(bytes: Uint8Array, fn: DigestFunctionName): ActionResultReferences;
  /** Every file in the root and in all children. */
  ofTree(bytes: Uint8Array, fn: DigestFunctionName): readonly Digest[];
  ofDirectory(bytes: Uint8Array, fn: DigestFunctionName): DirectoryReferences;
}
