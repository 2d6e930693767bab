import { CacheError } from "../cache/cache-error.ts";
import type { DigestFunctionName } from "../cache/digest.ts";
import type { ActionResult, OutputSymlink } from "./messages.ts";
import { requestDigest } from "./request-digest.ts";

/**
 * Checks what a client wants to store. Whether the outputs are in the cache is the client's affair: an entry that
 * lacks some is simply incomplete.
 * @throws {CacheError} invalid_argument naming the field.
 */
export function checkActionResult(result: ActionResult, fn: DigestFunctionName): void {
  for (const [index, { path, digest }] of result.output_files.entries()) {
    const field = `action_result.output_files[${index}]`;
    checkPath(`${field}.path`, path);
    requestDigest(`${field}.digest`, digest, fn);
  }
  for (const [index, directory] of result.output_directories.entries()) {
    const field = `action_result.output_directories[${index}]`;
    // The empty path is the working directory itself.
    if (directory.path !== "") checkPath(`${field}.path`, directory.path);
    const { tree_digest, root_directory_digest } = directory;
    if (tree_digest !== null || root_directory_digest === null) requestDigest(`${field}.tree_digest`, tree_digest, fn);
    if (root_directory_digest !== null) {
      requestDigest(`${field}.root_directory_digest`, root_directory_digest, fn);
    }
  }
  checkSymlinks("action_result.output_file_symlinks", result.output_file_symlinks);
  checkSymlinks("action_result.output_symlinks", result.output_symlinks);
  checkSymlinks("action_result.output_directory_symlinks", result.output_directory_symlinks);
  if (result.stdout_digest !== null) requestDigest("action_result.stdout_digest", result.stdout_digest, fn);
  if (result.stderr_digest !== null) requestDigest("action_result.stderr_digest", result.stderr_digest, fn);
}

function checkSymlinks(field: string, symlinks: readonly OutputSymlink[]): void {
  for (const [index, { path, target }] of symlinks.entries()) {
    checkPath(`${field}[${index}].path`, path);
    if (target === "") throw new CacheError("invalid_argument", `${field}[${index}].target: expected a path, got none`);
  }
}

/**
 * Output paths are relative to the working directory, which may lie below the input root: so `..` may lead, but a
 * path has one form only.
 */
function checkPath(field: string, path: string): void {
  const problem = pathProblem(path);
  if (problem === undefined) return;
  const shown = JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}...` : path);
  throw new CacheError("invalid_argument", `${field}: expected a relative path, got ${shown}: ${problem}`);
}

function pathProblem(path: string): string | undefined {
  if (path === "") return "it is empty";
  if (path.startsWith("/")) return "it is absolute";
  if (path.includes("\0")) return "it has a NUL character";
  const segments = path.split("/");
  if (segments.includes("")) return "it has an empty segment";
  if (segments.includes(".")) return "it has a segment .";
  const firstName = segments.findIndex((segment) => segment !== "..");
  if (firstName === -1) return "it names no file";
  return segments.includes("..", firstName) ? "it has a segment .. behind a name" : undefined;
}
