import type { BlobStore } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import { type Digest, digestToString } from "../cache/digest.ts";
import { checkInstanceName } from "../cache/instance-name.ts";
import type { Directory, GetTreeRequest, GetTreeResponse } from "./messages.ts";
import { directoryReferences } from "./output-references-reader.ts";
import { directoryCodec } from "./proto-definitions.ts";
import { requestDigest, requestDigestFunction } from "./request-digest.ts";
import type { CallContext } from "./transport/handler.ts";
import { formatPageToken, parsePageToken } from "./tree-page-token.ts";

export interface DirectoryTreeOptions {
  /** Directories in one response where the client asks for no fewer. Default 1000. */
  readonly pageDirectoriesMax?: number;
  /** Encoded directories in one response, in bytes. Default 3 MiB: clients limit a message to 4 MiB. */
  readonly pageBytesMax?: number;
  /** Directories in one tree; past it the call fails. Default 1,000,000. */
  readonly treeDirectoriesMax?: number;
  /** Size of one Directory message, which is decoded in memory; past it the call fails. Default 16 MiB. */
  readonly directoryBytesMax?: number;
}

interface FoundDirectory {
  readonly sizeBytes: number;
  readonly directory: Directory;
}

/**
 * `GetTree`: every reachable Directory once, level by level, root first. One call streams the tree to its end, a page
 * a response; the token of a response lets a later call begin right after it.
 * @throws {CacheError} not_found where the root is missing; invalid_argument for a bad request or a blob that is no
 * Directory; failed_precondition past a bound.
 */
export async function* streamDirectoryTree(
  blobs: BlobStore,
  request: GetTreeRequest,
  call: CallContext,
  options: DirectoryTreeOptions = {},
): AsyncGenerator<GetTreeResponse> {
  checkInstanceName(request.instance_name);
  const root = requestDigest("root_digest", request.root_digest, requestDigestFunction(request.digest_function));
  const page = new Page(request, call, options);
  const skipped = parsePageToken(request.page_token, root);
  let position = 0;
  for await (const found of walk(blobs, root, options)) {
    // A token says how far the earlier call came; to get there again costs reads, but no state between calls.
    if (position >= skipped) {
      if (!page.hasRoomFor(found)) yield page.take(formatPageToken(root, position));
      const waiting = page.makeRoomFor(found);
      if (waiting !== undefined) await waiting;
      page.add(found);
    }
    position++;
  }
  if (position <= skipped && skipped > 0) {
    throw new CacheError("invalid_argument", `page_token: expected a place within ${position} directories`);
  }
  yield page.take("");
}

/** The directories of one response. */
class Page {
  readonly #directoriesMax: number;
  readonly #bytesMax: number;
  #directories: Directory[] = [];
  #bytes = 0;
  readonly #call: CallContext;
  #heldBytes = 0;

  constructor({ page_size }: GetTreeRequest, call: CallContext, options: DirectoryTreeOptions) {
    if (page_size < 0) {
      throw new CacheError("invalid_argument", `page_size: expected 0 for any or more, got ${page_size}`);
    }
    const directoriesMax = options.pageDirectoriesMax ?? 1000;
    this.#directoriesMax = page_size === 0 ? directoriesMax : Math.min(page_size, directoriesMax);
    this.#bytesMax = options.pageBytesMax ?? 3 * 1024 * 1024;
    this.#call = call;
  }

  /** The first one always has: a directory larger than a page is a page of its own. */
  hasRoomFor({ sizeBytes }: FoundDirectory): boolean {
    const count = this.#directories.length;
    return count === 0 || (count < this.#directoriesMax && this.#bytes + sizeBytes <= this.#bytesMax);
  }

  /** What the largest page so far has held is there for the next. @see CallContext.holdMemory */
  makeRoomFor({ sizeBytes }: FoundDirectory): Promise<void> | undefined {
    const bytes = Math.min(this.#bytes + sizeBytes, this.#bytesMax) - this.#heldBytes;
    if (bytes <= 0) return undefined;
    this.#heldBytes += bytes;
    return this.#call.holdMemory(bytes);
  }

  add({ directory, sizeBytes }: FoundDirectory): void {
    this.#directories.push(directory);
    this.#bytes += sizeBytes;
  }

  take(nextPageToken: string): GetTreeResponse {
    const response = { directories: this.#directories, next_page_token: nextPageToken };
    this.#directories = [];
    this.#bytes = 0;
    return response;
  }
}

/** Breadth first. A missing child is left out, as the spec says. */
async function* walk(
  blobs: BlobStore,
  root: Digest,
  { treeDirectoriesMax = 1_000_000, directoryBytesMax = 16 * 1024 * 1024 }: DirectoryTreeOptions,
): AsyncGenerator<FoundDirectory> {
  const seen = new Set([digestToString(root)]);
  let level = [root];
  while (level.length > 0) {
    const next: Digest[] = [];
    for (const digest of level) {
      const directory = await readDirectory(blobs, digest, directoryBytesMax);
      if (directory === undefined) {
        if (digest === root) {
          throw new CacheError("not_found", `root_digest: blob ${digestToString(root)} is not in the cache`);
        }
        continue;
      }
      yield { directory, sizeBytes: digest.sizeBytes };
      for (const child of directoryReferences(directory, root.fn).directories) {
        const name = digestToString(child);
        if (seen.has(name)) continue;
        seen.add(name);
        next.push(child);
      }
      if (seen.size > treeDirectoriesMax) {
        throw new CacheError("failed_precondition", `root_digest: expected at most ${treeDirectoriesMax} directories`);
      }
    }
    level = next;
  }
}

async function readDirectory(blobs: BlobStore, digest: Digest, bytesMax: number): Promise<Directory | undefined> {
  if (digest.sizeBytes > bytesMax) {
    throw new CacheError(
      "failed_precondition",
      `directory ${digestToString(digest)}: expected at most ${bytesMax} bytes, got ${digest.sizeBytes}`,
    );
  }
  const content = await blobs.get(digest);
  return content && directoryCodec.decode(await content.bytes());
}
