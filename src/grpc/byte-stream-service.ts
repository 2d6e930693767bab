import type { BlobContent, BlobStore, StagedBlob } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import { DigestList } from "../cache/digest-list.ts";
import { type Digest, digestToString } from "../cache/digest.ts";
import type { Encoding } from "../cache/encoding.ts";
import type { ByteRange } from "../cache/entry-store.ts";
import { Places } from "../cache/places.ts";
import { type Timers, systemTimers } from "../timers.ts";
import { BlobResponses } from "./blob-responses.ts";
import { BlobUpload } from "./blob-upload.ts";
import type {
  QueryWriteStatusRequest,
  QueryWriteStatusResponse,
  ReadRequest,
  WriteRequest,
  WriteResponse,
} from "./byte-stream-messages.ts";
import { claimedClientOf } from "./claimed-client.ts";
import { bindService } from "./proto-services.ts";
import { RequestReader } from "./request-reader.ts";
import { type BlobName, type UploadName, formatUploadName, parseBlobName, parseUploadName } from "./resource-name.ts";
import { ResumableUploads, type UploadClaim } from "./resumable-uploads.ts";
import type { BoundMethod, CallContext, RequestStream } from "./transport/handler.ts";

export interface ByteStreamOptions {
  readonly blobs: BlobStore;
  /** The service over the blobs of an instance. Default: this one, for all of them. */
  readonly ofInstance?: (instanceName: string) => ByteStreamService;
  /** What interrupted uploads leave behind. Default: a table of its own. */
  readonly uploads?: ResumableUploads;
  /** Of uploads that are being received: what they hold waits for staging, each with a window and two buffers. Default: any number. */
  readonly places?: Places;
  /** Largest blob taken, in bytes; what is announced as `max_cas_blob_size_bytes`. Default: no limit. */
  readonly blobBytesMax?: number;
  /** Largest `ReadResponse.data`. Default 256 KiB. */
  readonly readChunkBytesMax?: number;
  /** Longest time of a Write without a byte of progress. Default 60 s. */
  readonly writeIdleMsMax?: number;
  readonly timers?: Timers;
}

const NO_BYTES = Buffer.alloc(0);
const RESOURCE_NAME_HEADER = "build.bazel.remote.execution.v2.resource-name";
/** By the names that they give themselves. */
const CLIENTS_THAT_WANT_THE_BLOB_SIZE: ReadonlySet<string> = new Set(["siso", "reclient", "re-client"]);
/** A committed size: the API's word for a compressed upload that was not needed. */
const COMPRESSED_BLOB_WAS_PRESENT = -1;

export function byteStreamService(options: ByteStreamOptions): BoundMethod[] {
  const service = new ByteStreamService(options);
  return bindService("google.bytestream.ByteStream", {
    Read: (request, call) => service.read(request, call),
    Write: (requests, call) => service.write(requests, call),
    QueryWriteStatus: (request, call) => service.queryWriteStatus(request, call),
  });
}

/** `google.bytestream.ByteStream` as REAPI uses it (BEHAVIOUR 2 and 3). */
export class ByteStreamService {
  readonly #blobs: BlobStore;
  readonly #ofInstance: (instanceName: string) => ByteStreamService;
  readonly #uploads: ResumableUploads;
  readonly #places: Places;
  readonly #blobBytesMax: number;
  readonly #readChunkBytesMax: number;
  readonly #writeIdleMsMax: number;
  readonly #timers: Timers;

  constructor(options: ByteStreamOptions) {
    this.#blobs = options.blobs;
    this.#ofInstance = options.ofInstance ?? (() => this);
    this.#timers = options.timers ?? systemTimers;
    this.#uploads = options.uploads ?? new ResumableUploads({ timers: this.#timers });
    this.#places = options.places ?? new Places("uploads", Number.POSITIVE_INFINITY, 0);
    this.#blobBytesMax = options.blobBytesMax ?? Number.POSITIVE_INFINITY;
    this.#readChunkBytesMax = options.readChunkBytesMax ?? 256 * 1024;
    this.#writeIdleMsMax = options.writeIdleMsMax ?? 60_000;
  }

  read(request: ReadRequest, call: CallContext): BlobResponses {
    checkHeader(request.resource_name, call);
    const name = parseBlobName(request.resource_name);
    const encoding = encodingOf(name);
    const own = this.#ofInstance(name.instanceName);
    const getting = own.#blobs.get(name.digest, readRange(request, name.digest, encoding), encoding);
    const found = (content: BlobContent | undefined): BlobContent => foundBlob(content, name.digest);
    const content = getting instanceof Promise ? getting.then(found) : found(getting);
    return new BlobResponses(content, encoding, this.#readChunkBytesMax);
  }

  async write(messages: RequestStream<WriteRequest>, call: CallContext): Promise<WriteResponse> {
    using requests = new RequestReader(messages, {
      signal: call.signal,
      idleMsMax: this.#writeIdleMsMax,
      timers: this.#timers,
    });
    // Nothing is waited for that is here: the bytes behind the first message are in the chunk that it came with.
    const first = requests.takeReady() ?? (await requests.next());
    if (first === undefined) throw new CacheError("invalid_argument", "resource_name: expected a message, got none");
    checkHeader(first.resource_name, call);
    const name = parseUploadName(first.resource_name);
    const { digest } = name;
    const encoding = encodingOf(name);
    this.#checkBlobLimit(digest);
    const own = this.#ofInstance(name.instanceName);
    // Before anything is staged. This is also how the empty blob is accepted, which is always present.
    const isPresent = own.#isPresent(digest);
    const upload =
      isPresent === false || !(await isPresent)
        ? await own.#receive(requests, first, name, encoding, call.signal)
        : undefined;
    if (encoding === "identity") return { committed_size: digest.sizeBytes };
    if (upload === undefined) return { committed_size: COMPRESSED_BLOB_WAS_PRESENT };
    return { committed_size: wantsBlobSize(call) ? digest.sizeBytes : upload.bytesTaken };
  }

  /** Never NOT_FOUND: Bazel takes that as final. */
  async queryWriteStatus(request: QueryWriteStatusRequest, call: CallContext): Promise<QueryWriteStatusResponse> {
    checkHeader(request.resource_name, call);
    const name = parseUploadName(request.resource_name);
    encodingOf(name);
    // Asked for before the look-up: the other way round, an upload that completes in between would seem unknown.
    const committedBytes = await this.#uploads.committedBytes(uploadKey(name));
    if (await this.#ofInstance(name.instanceName).#isPresent(name.digest))
      return { committed_size: name.digest.sizeBytes, complete: true };
    return { committed_size: committedBytes, complete: false };
  }

  /** Resolves once the blob is present. @returns the upload that made it so; undefined where it was another. */
  async #receive(
    requests: RequestReader<WriteRequest>,
    first: WriteRequest,
    name: UploadName,
    encoding: Encoding,
    signal: AbortSignal,
  ): Promise<BlobUpload | undefined> {
    using _place = this.#places.takeNow();
    const claiming = this.#uploads.claim(uploadKey(name), (error) => requests.interrupt(error), signal);
    const claim = claiming instanceof Promise ? await claiming : claiming;
    try {
      if (first.write_offset > claim.bytesCommitted) {
        await this.#uploads.fetch(uploadKey(name), claim, (detached) => this.#blobs.attach(name.digest, detached));
      }
      const upload = new BlobUpload(first.resource_name, name.digest, encoding, claim);
      let message: WriteRequest | undefined = first;
      do {
        const isPresent = this.#isPresent(name.digest);
        if (isPresent !== false && (await isPresent)) {
          claim.drop();
          return undefined;
        }
        if (message === first) {
          const stage = (): Promise<StagedBlob> | StagedBlob => this.#stage(name.digest, encoding, claim, signal);
          const beginning = upload.begin(message.write_offset, stage);
          if (beginning !== undefined) await beginning;
        }
        // Everything that is here in one go: a promise for each message costs more than its bytes.
        for (; message !== undefined; message = requests.takeReady()) {
          const { length } = message.data;
          const taking = upload.take(message);
          if (taking !== undefined) await taking;
          // The first message stays at hand as long as the upload does.
          message.data = NO_BYTES;
          if (length > 0) requests.noteProgress(length);
          if (message.finish_write) {
            await upload.finish(requests);
            return upload;
          }
          if (message === first) requests.offerTo((next) => this.#takeInPlace(upload, next, requests));
        }
        message = await requests.next();
      } while (message !== undefined);
      throw new CacheError("invalid_argument", "finish_write: expected it before the end of the stream");
    } finally {
      await claim.release();
    }
  }

  #takeInPlace(upload: BlobUpload, message: WriteRequest, requests: RequestReader<WriteRequest>): boolean {
    const { length } = message.data;
    const isTaken = upload.tryTake(message);
    const takenBytes = length - message.data.length;
    if (takenBytes > 0) requests.noteProgress(takenBytes);
    return isTaken;
  }

  #stage(
    digest: Digest,
    encoding: Encoding,
    claim: UploadClaim,
    signal: AbortSignal,
  ): Promise<StagedBlob> | StagedBlob {
    const stage = (): Promise<StagedBlob> | StagedBlob => this.#blobs.stage(digest, signal, encoding);
    const staging = stage();
    return staging instanceof Promise ? this.#staged(staging, stage, claim) : staging;
  }

  /** Staging that is full of uploads which nobody writes any more must not keep out one that somebody does. */
  async #staged(
    staging: Promise<StagedBlob>,
    stage: () => Promise<StagedBlob> | StagedBlob,
    claim: UploadClaim,
  ): Promise<StagedBlob> {
    try {
      return await staging;
    } catch (error) {
      if (!isOutOfRoom(error)) throw error;
      await Promise.all([claim.dropEarlier(), this.#uploads.makeRoom()]);
      return stage();
    }
  }

  /** The answer relies on the blob, so that it is used now: its lease is renewed. */
  #isPresent(digest: Digest): Promise<boolean> | boolean {
    return this.#blobs.peek(digest) && this.#renew(digest);
  }

  async #renew(digest: Digest): Promise<boolean> {
    return (await this.#blobs.findMissing(DigestList.of([digest]))).length === 0;
  }

  #checkBlobLimit({ sizeBytes }: Digest): void {
    if (sizeBytes <= this.#blobBytesMax) return;
    throw new CacheError(
      "invalid_argument",
      `resource_name: expected a blob of at most ${this.#blobBytesMax} bytes, got ${sizeBytes}`,
    );
  }
}

/** @throws {CacheError} not_found where there is none. */
function foundBlob(content: BlobContent | undefined, digest: Digest): BlobContent {
  if (content === undefined) throw new CacheError("not_found", `blob ${digestToString(digest)} is not in the cache`);
  return content;
}

function isOutOfRoom(error: unknown): boolean {
  return error instanceof CacheError && (error.code === "resource_exhausted" || error.code === "storage_full");
}

/** The name under which uploads are found again: without what clients add at the end. */
function uploadKey(name: UploadName): string {
  return formatUploadName({ ...name, metadata: undefined });
}

function checkHeader(resourceName: string, call: CallContext): void {
  const header = call.header(RESOURCE_NAME_HEADER);
  if (header === undefined || header === resourceName) return;
  throw new CacheError(
    "invalid_argument",
    `resource_name: expected the value of the header ${RESOURCE_NAME_HEADER}, got another`,
  );
}

function encodingOf({ compressor }: BlobName): Encoding {
  if (compressor === "identity" || compressor === "zstd") return compressor;
  throw new CacheError("invalid_argument", `resource_name: compressor ${compressor} is not offered by this server`);
}

/** Clients that take any other committed size of a compressed upload than the blob's own for a failure. */
function wantsBlobSize(call: CallContext): boolean {
  return CLIENTS_THAT_WANT_THE_BLOB_SIZE.has(claimedClientOf(call).toolName);
}

/** Offset and limit count bytes of the blob, however it is sent. */
function readRange({ read_offset, read_limit }: ReadRequest, { sizeBytes }: Digest, encoding: Encoding): ByteRange {
  if (read_limit < 0) {
    throw new CacheError("invalid_argument", `read_limit: expected 0 for no limit or more, got ${read_limit}`);
  }
  if (encoding !== "identity" && read_limit !== 0) {
    throw new CacheError("invalid_argument", `read_limit: expected 0 for a compressed blob, got ${read_limit}`);
  }
  if (read_offset < 0 || read_offset > sizeBytes) {
    throw new CacheError("out_of_range", `read_offset: expected 0 to ${sizeBytes}, got ${read_offset}`);
  }
  return read_limit === 0 ? { offset: read_offset } : { offset: read_offset, limit: read_limit };
}
