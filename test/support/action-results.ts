import type { BlobStore } from "../../src/cache/blob-store.ts";
import type { Digest } from "../../src/cache/digest.ts";
import type { ActionResult, Directory, OutputDirectory, OutputFile } from "../../src/grpc/messages.ts";
import { directoryCodec } from "../../src/grpc/proto-definitions.ts";
import { digestMessage } from "../../src/grpc/request-digest.ts";
import { contentOf } from "./cas-content.ts";

/** Puts bytes into the store. @returns their digest. */
export async function putBlob(blobs: BlobStore, value: string | Uint8Array): Promise<Digest> {
  const { digest, bytes } = contentOf(Buffer.from(value));
  await blobs.put(digest, bytes);
  return digest;
}

export function directoryOf(files: Record<string, Digest>, directories: Record<string, Digest> = {}): Directory {
  return {
    files: Object.entries(files).map(([name, digest]) => ({
      name,
      digest: digestMessage(digest),
      is_executable: false,
      node_properties: null,
    })),
    directories: Object.entries(directories).map(([name, digest]) => ({ name, digest: digestMessage(digest) })),
    symlinks: [],
    node_properties: null,
  };
}

export function putDirectory(blobs: BlobStore, directory: Directory): Promise<Digest> {
  return putBlob(blobs, directoryCodec.encode(directory));
}

export function outputFile(path: string, digest: Digest): OutputFile {
  return {
    path,
    digest: digestMessage(digest),
    is_executable: false,
    contents: Buffer.alloc(0),
    node_properties: null,
  };
}

export function outputDirectory(path: string, tree?: Digest, rootDirectory?: Digest): OutputDirectory {
  return {
    path,
    tree_digest: tree === undefined ? null : digestMessage(tree),
    is_topologically_sorted: false,
    root_directory_digest: rootDirectory === undefined ? null : digestMessage(rootDirectory),
  };
}

export function actionResult(fields: Partial<ActionResult> = {}): ActionResult {
  return {
    output_files: [],
    output_file_symlinks: [],
    output_symlinks: [],
    output_directories: [],
    output_directory_symlinks: [],
    exit_code: 0,
    stdout_raw: Buffer.alloc(0),
    stdout_digest: null,
    stderr_raw: Buffer.alloc(0),
    stderr_digest: null,
    execution_metadata: null,
    ...fields,
  };
}
