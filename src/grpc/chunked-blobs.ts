import type { BlobChunker } from "../cache/chunking/blob-chunker.ts";
import { CHUNKING_FUNCTIONS, type ChunkingFunctionNumber } from "../cache/chunking/chunking.ts";
import { CacheError } from "../cache/cache-error.ts";
import { checkInstanceName } from "../cache/instance-name.ts";
import type { SpliceBlobRequest, SpliceBlobResponse, SplitBlobRequest, SplitBlobResponse } from "./messages.ts";
import type { ServiceHandlers } from "./proto-services.ts";
import { digestMessage, requestDigest, requestDigestFunction } from "./request-digest.ts";
import type { CallContext } from "./transport/handler.ts";

export interface ChunkedBlobsOptions {
  readonly chunker: BlobChunker;
  /** Largest blob that is made of chunks, in bytes. */
  readonly blobBytesMax: number;
}

type Handlers = Pick<
  ServiceHandlers["build.bazel.remote.execution.v2.ContentAddressableStorage"],
  "SplitBlob" | "SpliceBlob"
>;

/** `SplitBlob` and `SpliceBlob` (BEHAVIOUR 4). */
export function chunkedBlobsHandlers({ chunker, blobBytesMax }: ChunkedBlobsOptions): Handlers {
  return {
    SplitBlob: (request) => splitBlob(request, chunker),
    SpliceBlob: (request, call) => spliceBlob(request, chunker, blobBytesMax, call),
  };
}

async function splitBlob(request: SplitBlobRequest, chunker: BlobChunker): Promise<SplitBlobResponse> {
  checkInstanceName(request.instance_name);
  const blob = requestDigest("blob_digest", request.blob_digest, requestDigestFunction(request.digest_function));
  const recipe = await chunker.split(blob, knownFunction(request.chunking_function));
  return { chunk_digests: recipe.chunks.map(digestMessage), chunking_function: recipe.function };
}

async function spliceBlob(
  request: SpliceBlobRequest,
  chunker: BlobChunker,
  blobBytesMax: number,
  call: CallContext,
): Promise<SpliceBlobResponse> {
  checkInstanceName(request.instance_name);
  const blob = requestDigest("blob_digest", request.blob_digest, requestDigestFunction(request.digest_function));
  if (blob.sizeBytes > blobBytesMax) {
    throw new CacheError(
      "invalid_argument",
      `blob_digest.size_bytes: expected at most ${blobBytesMax}, got ${blob.sizeBytes}`,
    );
  }
  const chunks = request.chunk_digests.map((chunk, i) => requestDigest(`chunk_digests[${i}]`, chunk, blob.fn));
  await chunker.splice(blob, chunks, knownFunction(request.chunking_function), call.signal);
  return { blob_digest: digestMessage(blob) };
}

/** One that is not known here is as good as none: it is a wish, or a remark. */
function knownFunction(chunkingFunction: number): ChunkingFunctionNumber {
  return Object.values(CHUNKING_FUNCTIONS).find((known) => known === chunkingFunction) ?? CHUNKING_FUNCTIONS.unknown;
}
