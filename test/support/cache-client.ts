import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, type ClientWritableStream, credentials, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { DIGEST_FUNCTIONS, type Digest } from "../../src/cache/digest.ts";
import type { Encoding } from "../../src/cache/encoding.ts";
import type {
  QueryWriteStatusResponse,
  ReadResponse,
  WriteRequest,
  WriteResponse,
} from "../../src/grpc/byte-stream-messages.ts";
import type { Encodable } from "../../src/grpc/google-messages.ts";
import type {
  ActionResult,
  BatchReadBlobsResponse,
  BatchUpdateBlobsResponse,
  FindMissingBlobsResponse,
  SpliceBlobResponse,
  SplitBlobResponse,
} from "../../src/grpc/messages.ts";
import { digestOf } from "./cas-content.ts";

/** What Bazel puts into one WriteRequest. */
const BAZEL_MESSAGE_BYTES = 16 * 1024;

const DEFINITIONS = loadSync(
  ["google/bytestream/bytestream.proto", "build/bazel/remote/execution/v2/remote_execution.proto"],
  {
    includeDirs: [fileURLToPath(new URL("../../proto", import.meta.url))],
    keepCase: true,
    longs: Number,
    enums: Number,
    defaults: true,
  },
);

interface Method<Request, Response> {
  readonly path: string;
  readonly encode: (request: Request) => Buffer;
  readonly decode: (bytes: Buffer) => Response;
}

function method<Request extends object, Response>(service: string, name: string): Method<Request, Response> {
  const definition = DEFINITIONS[service];
  if (definition === undefined || "format" in definition) throw new Error(`${service} is not a service under proto/`);
  const rpc = definition[name];
  if (rpc === undefined) throw new Error(`${service} has no rpc ${name}`);
  return {
    path: rpc.path,
    encode: rpc.requestSerialize,
    decode: (bytes) => rpc.responseDeserialize(bytes) as Response,
  };
}

const BYTE_STREAM = "google.bytestream.ByteStream";
const CAS = "build.bazel.remote.execution.v2.ContentAddressableStorage";
const ACTION_CACHE = "build.bazel.remote.execution.v2.ActionCache";

const METHODS = {
  read: method<object, ReadResponse>(BYTE_STREAM, "Read"),
  write: method<Encodable<WriteRequest>, WriteResponse>(BYTE_STREAM, "Write"),
  queryWriteStatus: method<object, QueryWriteStatusResponse>(BYTE_STREAM, "QueryWriteStatus"),
  findMissingBlobs: method<object, FindMissingBlobsResponse>(CAS, "FindMissingBlobs"),
  batchUpdateBlobs: method<object, BatchUpdateBlobsResponse>(CAS, "BatchUpdateBlobs"),
  batchReadBlobs: method<object, BatchReadBlobsResponse>(CAS, "BatchReadBlobs"),
  splitBlob: method<object, SplitBlobResponse>(CAS, "SplitBlob"),
  spliceBlob: method<object, SpliceBlobResponse>(CAS, "SpliceBlob"),
  getActionResult: method<object, ActionResult>(ACTION_CACHE, "GetActionResult"),
  updateActionResult: method<object, ActionResult>(ACTION_CACHE, "UpdateActionResult"),
};

export interface WriteOptions {
  /** Default: the digest of the bytes. */
  readonly digest?: Digest;
  /** Default: an upload of `digest` under a fresh UUID. */
  readonly resourceName?: string;
  /** Bytes of data in one message; default as Bazel: 16 KiB. */
  readonly messageBytes?: number;
  /** Where to start in `bytes`, for a resumed upload; default 0. */
  readonly offset?: number;
  /** Where to stop in `bytes`, without finish_write unless it is the end. */
  readonly end?: number;
  /** Ends the call as a client that goes away does. */
  readonly signal?: AbortSignal;
}

export interface ReadOptions {
  readonly offset?: number;
  readonly limit?: number;
  /** Default identity. */
  readonly encoding?: Encoding;
}

export { digestOf };

/** One connection to a server under test. Failed calls reject with the `ServiceError` of @grpc/grpc-js. */
export class CacheClient implements Disposable {
  readonly #client: Client;
  readonly #instanceName: string;

  /** @param endpoint `HOST:PORT` */
  constructor(endpoint: string, instanceName = "", security = credentials.createInsecure()) {
    this.#instanceName = instanceName;
    this.#client = new Client(endpoint, security, {
      // Clients of one process share a connection unless each has a pool of its own.
      "grpc.use_local_subchannel_pool": 1,
      // Test certificates are made out to it.
      "grpc.ssl_target_name_override": "localhost",
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
    });
  }

  uploadName(digest: Digest, uuid: string = randomUUID(), encoding: Encoding = "identity"): string {
    return this.#name(`uploads/${uuid}/${blobPath(digest, encoding)}`);
  }

  blobName(digest: Digest, encoding: Encoding = "identity"): string {
    return this.#name(blobPath(digest, encoding));
  }

  /** @returns `committed_size`. A server that answers early ends the upload. */
  write(bytes: Uint8Array, options: WriteOptions = {}): Promise<number> {
    return this.#write(this.#writeRequests(bytes, options), options.signal);
  }

  /** The same of what is made as it is sent: each chunk is a message. */
  writeChunks(resourceName: string, chunks: AsyncIterable<Uint8Array>): Promise<number> {
    return this.#write(chunkRequests(resourceName, chunks));
  }

  async #write(
    messages: Iterable<Encodable<WriteRequest>> | AsyncIterable<Encodable<WriteRequest>>,
    signal?: AbortSignal,
  ): Promise<number> {
    const response = Promise.withResolvers<WriteResponse>();
    let ended = false;
    const call = this.#client.makeClientStreamRequest<Encodable<WriteRequest>, WriteResponse>(
      METHODS.write.path,
      METHODS.write.encode,
      METHODS.write.decode,
      (error, value) => {
        ended = true;
        if (value === undefined) response.reject(error ?? new Error("Write ended with neither response nor error"));
        else response.resolve(value);
      },
    );
    const cancel = (): void => call.cancel();
    signal?.addEventListener("abort", cancel);
    try {
      for await (const message of messages) {
        if (ended) break;
        if (!call.write(message)) await drained(call, response.promise);
      }
      call.end();
      return (await response.promise).committed_size;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Sends the bytes that `options` say and leaves the call open, as a client does whose network has stalled. */
  openWrite(bytes: Uint8Array, options: WriteOptions): { cancel(): void } {
    const { path, encode, decode } = METHODS.write;
    const call = this.#client.makeClientStreamRequest<Encodable<WriteRequest>, WriteResponse>(
      path,
      encode,
      decode,
      // However it ends: nobody waits for it.
      () => undefined,
    );
    for (const message of this.#writeRequests(bytes, options)) call.write({ ...message, finish_write: false });
    return call;
  }

  /** The messages that {@link write} sends; also for tests that send them in their own way. */
  *#writeRequests(bytes: Uint8Array, options: WriteOptions): Generator<Encodable<WriteRequest>> {
    const messageBytes = options.messageBytes ?? BAZEL_MESSAGE_BYTES;
    const end = options.end ?? bytes.length;
    let name = options.resourceName ?? this.uploadName(options.digest ?? digestOf(bytes));
    let offset = options.offset ?? 0;
    do {
      const next = Math.min(offset + messageBytes, end);
      yield {
        resource_name: name,
        write_offset: offset,
        finish_write: next === bytes.length,
        data: bytes.subarray(offset, next),
      };
      name = "";
      offset = next;
    } while (offset < end);
  }

  /** @returns zstd data as the server gives it, where that is asked for. */
  async read(digest: Digest, range: ReadOptions = {}): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.readChunks(digest, range)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** The same as it comes. */
  async *readChunks(digest: Digest, range: ReadOptions = {}): AsyncGenerator<Buffer> {
    const request = {
      resource_name: this.blobName(digest, range.encoding),
      read_offset: range.offset ?? 0,
      read_limit: range.limit ?? 0,
    };
    const { path, encode, decode } = METHODS.read;
    const call = this.#client.makeServerStreamRequest(path, encode, decode, request);
    for await (const { data } of call as AsyncIterable<ReadResponse>) yield data;
  }

  /** @returns undefined where the server answers NOT_FOUND. */
  async readIfPresent(digest: Digest): Promise<Buffer | undefined> {
    return await undefinedIfNotFound(this.read(digest));
  }

  async queryWriteStatus(resourceName: string): Promise<QueryWriteStatusResponse> {
    return await this.#unary(METHODS.queryWriteStatus, { resource_name: resourceName });
  }

  /** @returns the hashes of those that are missing. */
  async findMissing(digests: readonly Digest[]): Promise<Set<string>> {
    const response = await this.#unary(METHODS.findMissingBlobs, {
      instance_name: this.#instanceName,
      blob_digests: digests.map(wireDigest),
      digest_function: functionOf(digests),
    });
    return new Set(response.missing_blob_digests.map((digest) => digest.hash));
  }

  async batchUpdate(blobs: readonly { digest: Digest; data: Uint8Array }[]): Promise<BatchUpdateBlobsResponse> {
    const requests = blobs.map(({ digest, data }) => ({ digest: wireDigest(digest), data }));
    const digest_function = functionOf(blobs.map(({ digest }) => digest));
    return await this.#unary(METHODS.batchUpdateBlobs, {
      instance_name: this.#instanceName,
      requests,
      digest_function,
    });
  }

  async batchRead(digests: readonly Digest[]): Promise<BatchReadBlobsResponse> {
    return await this.#unary(METHODS.batchReadBlobs, {
      instance_name: this.#instanceName,
      digests: digests.map(wireDigest),
      digest_function: functionOf(digests),
    });
  }

  /** @param chunkingFunction `ChunkingFunction.Value` */
  async splitBlob(blob: Digest, chunkingFunction: number): Promise<SplitBlobResponse> {
    return await this.#unary(METHODS.splitBlob, {
      instance_name: this.#instanceName,
      blob_digest: wireDigest(blob),
      digest_function: functionOf([blob]),
      chunking_function: chunkingFunction,
    });
  }

  /** @param chunkingFunction `ChunkingFunction.Value` */
  async spliceBlob(blob: Digest, chunks: readonly Digest[], chunkingFunction: number): Promise<SpliceBlobResponse> {
    return await this.#unary(METHODS.spliceBlob, {
      instance_name: this.#instanceName,
      blob_digest: wireDigest(blob),
      chunk_digests: chunks.map(wireDigest),
      digest_function: functionOf([blob]),
      chunking_function: chunkingFunction,
    });
  }

  /** @returns undefined where the server answers NOT_FOUND. */
  async getActionResult(action: Digest): Promise<ActionResult | undefined> {
    const request = {
      instance_name: this.#instanceName,
      action_digest: wireDigest(action),
      digest_function: functionOf([action]),
    };
    return await undefinedIfNotFound(this.#unary(METHODS.getActionResult, request));
  }

  async updateActionResult(action: Digest, actionResult: Encodable<ActionResult>): Promise<ActionResult> {
    return await this.#unary(METHODS.updateActionResult, {
      instance_name: this.#instanceName,
      action_digest: wireDigest(action),
      action_result: actionResult,
      digest_function: functionOf([action]),
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #name(rest: string): string {
    return this.#instanceName === "" ? rest : `${this.#instanceName}/${rest}`;
  }

  #unary<Response>(rpc: Method<object, Response>, request: object): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    this.#client.makeUnaryRequest(rpc.path, rpc.encode, rpc.decode, request, (error, value) => {
      if (value === undefined) reject(error ?? new Error(`${rpc.path} ended with neither response nor error`));
      else resolve(value);
    });
    return promise;
  }
}

/** Clients with a connection each, closed together. */
export class CacheClients implements Disposable {
  readonly #clients: readonly CacheClient[];

  constructor(endpoint: string, connectionCount: number, instanceName = "") {
    this.#clients = Array.from({ length: connectionCount }, () => new CacheClient(endpoint, instanceName));
  }

  /** The same client for the same number; consecutive numbers give different ones. */
  at(number: number): CacheClient {
    const client = this.#clients[number % this.#clients.length];
    if (client === undefined) throw new RangeError("no connections");
    return client;
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients) client[Symbol.dispose]();
  }
}

async function* chunkRequests(
  resourceName: string,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Encodable<WriteRequest>> {
  let offset = 0;
  for await (const data of chunks) {
    yield { resource_name: offset === 0 ? resourceName : "", write_offset: offset, finish_write: false, data };
    offset += data.length;
  }
  yield { resource_name: "", write_offset: offset, finish_write: true, data: Buffer.alloc(0) };
}

export function wireDigest(digest: Digest): { hash: string; size_bytes: number } {
  return { hash: digest.hash, size_bytes: digest.sizeBytes };
}

function blobPath({ fn, hash, sizeBytes }: Digest, encoding: Encoding): string {
  const isNamed = fn === "blake3" || fn === "sha256tree" || fn === "gitsha1";
  const prefix = encoding === "identity" ? "blobs" : `compressed-blobs/${encoding}`;
  return `${prefix}/${isNamed ? `${fn}/` : ""}${hash}/${sizeBytes}`;
}

/** `DigestFunction.Value` of digests that share one; 0 is left to mean SHA-256, as old clients do. */
function functionOf([digest]: readonly Digest[]): number {
  return digest === undefined || digest.fn === "sha256" ? 0 : DIGEST_FUNCTIONS[digest.fn].number;
}

async function undefinedIfNotFound<Value>(answer: Promise<Value>): Promise<Value | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === status.NOT_FOUND) return undefined;
    throw error;
  }
}

/** Resolves when the call takes more, or is over: a call that has ended never drains. */
async function drained(call: ClientWritableStream<never>, ended: Promise<unknown>): Promise<void> {
  const waiting = new AbortController();
  const drain = once(call, "drain", { signal: waiting.signal }).catch(() => undefined);
  await Promise.race([drain, ended.catch(() => undefined)]);
  waiting.abort();
}
