import type { BlobStore } from "../cache/blob-store.ts";
import type { DigestFunctionName } from "../cache/digest.ts";
import type { ActionResult, Digest as DigestMessage, GetActionResultRequest } from "./messages.ts";
import { asBuffer } from "./proto-definitions.ts";
import { requestDigest } from "./request-digest.ts";

const NO_BYTES = Buffer.alloc(0);

/**
 * Puts into `result` the contents that `request` asks for and takes out those that it does not, in the order stdout,
 * stderr, output files. What does not fit into `bytesMax` in all is left out, as the spec allows; so is what is not
 * in the cache. Contents without a digest stay as they are: there is no other copy of them.
 */
export async function inlineOutputs(
  result: ActionResult,
  request: GetActionResultRequest,
  fn: DigestFunctionName,
  blobs: BlobStore,
  bytesMax: number,
): Promise<void> {
  const inliner = new Inliner(blobs, fn, bytesMax);
  result.stdout_raw = await inliner.contents(result.stdout_raw, result.stdout_digest, request.inline_stdout);
  result.stderr_raw = await inliner.contents(result.stderr_raw, result.stderr_digest, request.inline_stderr);
  const paths = new Set(request.inline_output_files);
  for (const file of result.output_files) {
    file.contents = await inliner.contents(file.contents, file.digest, paths.has(file.path));
  }
}

class Inliner {
  readonly #blobs: BlobStore;
  readonly #fn: DigestFunctionName;
  #roomBytes: number;

  constructor(blobs: BlobStore, fn: DigestFunctionName, bytesMax: number) {
    this.#blobs = blobs;
    this.#fn = fn;
    this.#roomBytes = bytesMax;
  }

  /** @param stored what the entry itself carries. */
  async contents(stored: Buffer, digest: DigestMessage | null, isAsked: boolean): Promise<Buffer> {
    if (digest === null) {
      this.#roomBytes -= stored.length;
      return stored;
    }
    if (!isAsked || digest.size_bytes > this.#roomBytes) return NO_BYTES;
    const content = await this.#blobs.get(requestDigest("digest", digest, this.#fn));
    if (content === undefined) return NO_BYTES;
    const bytes = asBuffer(await content.bytes());
    this.#roomBytes -= bytes.length;
    return bytes;
  }
}
