import { CacheError } from "../cache/cache-error.ts";
import type { Digest, DigestFunctionName } from "../cache/digest.ts";
import type { DirectoryReferences, OutputReferencesReader } from "../cache/output-references.ts";
import type { Directory } from "./messages.ts";
import { actionResultCodec, directoryCodec, treeCodec } from "./proto-definitions.ts";
import { requestDigest } from "./request-digest.ts";

/** Reads the references out of REAPI messages in protobuf encoding. */
export const protoOutputReferences: OutputReferencesReader = {
  ofActionResult(bytes, fn) {
    const result = actionResultCodec.decode(bytes);
    const blobs = result.output_files.map(({ digest }) => requestDigest("output_files.digest", digest, fn));
    if (result.stdout_digest !== null) blobs.push(requestDigest("stdout_digest", result.stdout_digest, fn));
    if (result.stderr_digest !== null) blobs.push(requestDigest("stderr_digest", result.stderr_digest, fn));
    const trees: Digest[] = [];
    const rootDirectories: Digest[] = [];
    for (const { path, tree_digest, root_directory_digest } of result.output_directories) {
      if (tree_digest !== null) trees.push(requestDigest("tree_digest", tree_digest, fn));
      if (root_directory_digest !== null) {
        rootDirectories.push(requestDigest("root_directory_digest", root_directory_digest, fn));
      }
      if (tree_digest === null && root_directory_digest === null) {
        throw new CacheError("invalid_argument", `output_directories: no digest for ${JSON.stringify(path)}`);
      }
    }
    return { blobs, trees, rootDirectories };
  },

  ofTree(bytes, fn) {
    const { root, children } = treeCodec.decode(bytes);
    const directories = root === null ? children : [root, ...children];
    return directories.flatMap((directory) => [...directoryReferences(directory, fn).files]);
  },

  ofDirectory: (bytes, fn) => directoryReferences(directoryCodec.decode(bytes), fn),
};

/** @throws {CacheError} invalid_argument where a digest in it is absent or invalid. */
export function directoryReferences(directory: Directory, fn: DigestFunctionName): DirectoryReferences {
  return {
    files: directory.files.map(({ digest }) => requestDigest("files.digest", digest, fn)),
    directories: directory.directories.map(({ digest }) => requestDigest("directories.digest", digest, fn)),
  };
}
