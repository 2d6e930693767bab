import type { BlobContent, BlobPut, BlobStore } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import { type Digest, type DigestFunctionName, digestToString } from "../cache/digest.ts";
import type { Encoding } from "../cache/encoding.ts";
import { checkInstanceName } from "../cache/instance-name.ts";
import { nextTurn, slices } from "../cache/turns.ts";
import { decodeZstd } from "../cache/zstd/zstd-decoder.ts";
import { BATCH_TOTAL_BYTES_MAX } from "./capabilities-service.ts";
import { type ChunkedBlobsOptions, chunkedBlobsHandlers } from "./chunked-blobs.ts";
import { type DirectoryTreeOptions, streamDirectoryTree } from "./directory-tree.ts";
import type { Status } from "./google-messages.ts";
import { type FaultReporter, GRPC_STATUS, statusOfError } from "./grpc-status.ts";
import {
  type BatchReadBlobsRequest,
  type BatchReadBlobsResponse,
  type BatchReadBlobsResponseEntry,
  type BatchUpdateBlobsRequest,
  type BatchUpdateBlobsRequestEntry,
  type BatchUpdateBlobsResponse,
  COMPRESSORS,
  type Digest as DigestMessage,
  type FindMissingBlobsResponse,
} from "./messages.ts";
import { asBuffer } from "./proto-definitions.ts";
import type { FindMissingBlobsRequest } from "./proto-find-missing-codec.ts";
import { bindService } from "./proto-services.ts";
import { requestDigest, requestDigestFunction } from "./request-digest.ts";
import type { BoundMethod, CallContext } from "./transport/handler.ts";

export interface ContentAddressableStorageOptions {
  readonly blobs: BlobStore;
  /** Told of faults that concern one blob of a batch, which the client sees as its INTERNAL. */
  readonly reportFault: FaultReporter;
  /** What is announced as `max_batch_total_size_bytes`. Default: {@link BATCH_TOTAL_BYTES_MAX}. */
  readonly batchBytesMax?: number;
  /** Default: SplitBlob and SpliceBlob are not bound, so that the transport answers UNIMPLEMENTED. */
  readonly chunking?: ChunkedBlobsOptions;
  /** Bounds of GetTree. */
  readonly tree?: DirectoryTreeOptions;
}

/** Digests looked up before other calls get a turn. */
const FIND_MISSING_SLICE = 1000;
/** Blobs of one batch call that are read at the same time. */
const BATCH_CONCURRENCY = 256;

const OK: Status = { code: GRPC_STATUS.ok, message: "", details: [] };

export function contentAddressableStorageService(options: ContentAddressableStorageOptions): BoundMethod[] {
  const service = new ContentAddressableStorageService(options);
  return bindService("build.bazel.remote.execution.v2.ContentAddressableStorage", {
    FindMissingBlobs: (request) => service.findMissingBlobs(request),
    BatchUpdateBlobs: (request) => service.batchUpdateBlobs(request),
    BatchReadBlobs: (request, call) => service.batchReadBlobs(request, call),
    GetTree: (request, call) => streamDirectoryTree(options.blobs, request, call, options.tree),
    ...(options.chunking === undefined ? {} : chunkedBlobsHandlers(options.chunking)),
  });
}

/** The unary calls of `ContentAddressableStorage` (BEHAVIOUR 4). */
export class ContentAddressableStorageService {
  readonly #blobs: BlobStore;
  readonly #reportFault: FaultReporter;
  readonly #batchBytesMax: number;

  constructor(options: ContentAddressableStorageOptions) {
    this.#blobs = options.blobs;
    this.#reportFault = options.reportFault;
    this.#batchBytesMax = options.batchBytesMax ?? BATCH_TOTAL_BYTES_MAX;
  }

  async findMissingBlobs(request: FindMissingBlobsRequest): Promise<FindMissingBlobsResponse> {
    checkInstanceName(request.instance_name);
    const fn = requestDigestFunction(request.digest_function);
    const { blob_digests } = request;
    const missing: DigestMessage[] = [];
    for (let first = 0; first < blob_digests.count; first += FIND_MISSING_SLICE) {
      if (first > 0) await nextTurn();
      const digests = blob_digests.list(first, Math.min(first + FIND_MISSING_SLICE, blob_digests.count), fn);
      for (const position of await this.#blobs.findMissing(digests)) missing.push(blob_digests.at(first + position));
    }
    return { missing_blob_digests: missing };
  }

  async batchUpdateBlobs(request: BatchUpdateBlobsRequest): Promise<BatchUpdateBlobsResponse> {
    checkInstanceName(request.instance_name);
    const fn = requestDigestFunction(request.digest_function);
    const totalBytes = request.requests.reduce((total, { data, digest, compressor }) => {
      // The bound is on blobs: what is compressed counts as what it decodes to.
      return (
        total + (compressor === COMPRESSORS.identity ? data.length : Math.max(data.length, digest?.size_bytes ?? 0))
      );
    }, 0);
    this.#checkTotal("requests.data", totalBytes);
    const statuses: (Status | undefined)[] = request.requests.map(() => undefined);
    const puts: BlobPut[] = [];
    const positions: number[] = [];
    for (const [position, entry] of request.requests.entries()) {
      try {
        puts.push(checkedPut(entry, `requests[${position}]`, fn));
        positions.push(position);
      } catch (error) {
        statuses[position] = statusOfError(error, this.#reportFault);
      }
    }
    for (const [i, failure] of (await this.#blobs.putAll(puts)).entries()) {
      if (failure !== undefined) statuses[positions[i]!] = statusOfError(failure, this.#reportFault);
    }
    return {
      responses: request.requests.map(({ digest }, position) => ({ digest, status: statuses[position] ?? OK })),
    };
  }

  async batchReadBlobs(request: BatchReadBlobsRequest, call: CallContext): Promise<BatchReadBlobsResponse> {
    checkInstanceName(request.instance_name);
    const fn = requestDigestFunction(request.digest_function);
    // A size that is no size is answered for its blob alone and takes no room.
    const totalBytes = request.digests.reduce((total, { size_bytes }) => total + Math.max(0, size_bytes), 0);
    this.#checkTotal("digests.size_bytes", totalBytes);
    const waiting = call.holdMemory(totalBytes);
    if (waiting !== undefined) await waiting;
    const accept = request.acceptable_compressors.includes(COMPRESSORS.zstd) ? "zstd" : "identity";
    const responses: BatchReadBlobsResponseEntry[] = [];
    for (const slice of slices(request.digests, BATCH_CONCURRENCY)) {
      const start = responses.length;
      const digests = slice.map((digest, place) => digestOrError(`digests[${start + place}]`, digest, fn));
      this.#blobs.prefetch(digests.filter((digest): digest is Digest => !(digest instanceof CacheError)));
      const reading = slice.map((digest, place) => this.#read(digest, digests[place]!, accept));
      // A promise for each blob that is in memory costs more than its bytes.
      for (const entry of reading) responses.push(entry instanceof Promise ? await entry : entry);
    }
    return { responses };
  }

  #checkTotal(field: string, totalBytes: number): void {
    if (totalBytes <= this.#batchBytesMax) return;
    throw new CacheError(
      "invalid_argument",
      `${field}: expected at most ${this.#batchBytesMax} bytes of blobs in all, got ${totalBytes}`,
    );
  }

  /** Never throws nor rejects. No promise where nothing has to be waited for. */
  #read(
    digest: DigestMessage,
    checked: Digest | CacheError,
    accept: Encoding,
  ): Promise<BatchReadBlobsResponseEntry> | BatchReadBlobsResponseEntry {
    const failed = (error: unknown): BatchReadBlobsResponseEntry =>
      readEntry(digest, NO_BYTES, "identity", statusOfError(error, this.#reportFault));
    const entryOf = (content: BlobContent): Promise<BatchReadBlobsResponseEntry> | BatchReadBlobsResponseEntry => {
      const reading = content.bytes();
      return reading instanceof Promise
        ? reading.then((data) => shorterEntry(digest, data, content))
        : shorterEntry(digest, reading, content);
    };
    if (checked instanceof CacheError) return failed(checked);
    try {
      const getting = this.#blobs.get(checked, undefined, accept);
      const reading =
        getting instanceof Promise
          ? getting.then((content) => entryOf(present(checked, content)))
          : entryOf(present(checked, getting));
      return reading instanceof Promise ? reading.catch(failed) : reading;
    } catch (error) {
      return failed(error);
    }
  }
}

const NO_BYTES = Buffer.alloc(0);

function digestOrError(field: string, digest: DigestMessage, fn: DigestFunctionName | undefined): Digest | CacheError {
  try {
    return requestDigest(field, digest, fn);
  } catch (error) {
    if (error instanceof CacheError) return error;
    throw error;
  }
}

/** @throws {CacheError} invalid_argument naming what is wrong with the entry. */
function checkedPut(entry: BatchUpdateBlobsRequestEntry, field: string, fn: DigestFunctionName | undefined): BlobPut {
  const digest = requestDigest(`${field}.digest`, entry.digest, fn);
  if (entry.compressor === COMPRESSORS.zstd) return { digest, bytes: entry.data, encoding: "zstd" };
  if (entry.compressor !== COMPRESSORS.identity) {
    throw new CacheError(
      "invalid_argument",
      `${field}.compressor: expected 0 (identity) or 1 (zstd), got ${entry.compressor}`,
    );
  }
  if (entry.data.length !== digest.sizeBytes) {
    throw new CacheError(
      "invalid_argument",
      `${field}.data: expected ${digest.sizeBytes} bytes, got ${entry.data.length}`,
    );
  }
  return { digest, bytes: entry.data };
}

function present(digest: Digest, content: BlobContent | undefined): BlobContent {
  if (content !== undefined) return content;
  throw new CacheError("not_found", `blob ${digestToString(digest)} is not in the cache`);
}

/** A client may be told of a compressor only where that makes the blob smaller (BEHAVIOUR 4). */
function shorterEntry(
  digest: DigestMessage,
  data: Uint8Array,
  { sizeBytes, encoding }: BlobContent,
): BatchReadBlobsResponseEntry {
  return encoding === "identity" || data.length < sizeBytes
    ? readEntry(digest, data, encoding, OK)
    : readEntry(digest, decodeZstd([data], sizeBytes), "identity", OK);
}

function readEntry(
  digest: DigestMessage,
  data: Uint8Array,
  encoding: Encoding,
  status: Status,
): BatchReadBlobsResponseEntry {
  return { digest, data: asBuffer(data), compressor: COMPRESSORS[encoding], status };
}
