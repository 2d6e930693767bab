import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  type ChannelCredentials,
  Client,
  type ClientWritableStream,
  Metadata,
  credentials,
  status,
} from "@grpc/grpc-js";
import { type Blob, DIGEST_FUNCTIONS, type DigestFunction } from "./digest-functions.ts";
import { isServiceError } from "./expectations.ts";
import {
  type CacheCapabilities,
  type DigestMessage,
  type GetTreeResponseMessage,
  type Responses,
  type RpcName,
  type ServerCapabilities,
  type WriteRequestMessage,
  rpcDefinition,
} from "./protocol.ts";

export interface TargetOptions {
  /** `HOST:PORT` */
  readonly endpoint: string;
  readonly instanceName: string;
  /** Certificates in PEM that the server's one is checked against; undefined: no TLS. */
  readonly tlsCa?: Buffer;
  /** Sent with every call. */
  readonly headers: readonly (readonly [string, string])[];
}

export interface BlobNameOptions {
  readonly compressor?: string;
  /** Default: the main function of the run. */
  readonly fn?: DigestFunction;
}

/** A server that does not answer a call within this time has failed the row. */
const CALL_TIMEOUT_MS = 30_000;
/** In one WriteRequest where a row asks for no other size: what fits everybody's limits. */
const MESSAGE_BYTES = 64 * 1024;

/** The server under test: every call of the suite, and what the server says of itself. */
export class Target implements Disposable {
  readonly instanceName: string;
  readonly capabilities: ServerCapabilities;
  readonly cache: CacheCapabilities;
  /** Of the rows that do not care which one: SHA-256 where it is announced. */
  readonly fn: DigestFunction & Required<Pick<DigestFunction, "hashOf">>;
  /** Whether it answers anything but UNIMPLEMENTED to `Fetch` and `Push`, which its capabilities do not tell. */
  readonly offersFetch: boolean;
  readonly offersPush: boolean;
  readonly #caller: Caller;

  private constructor(caller: Caller, instanceName: string, probed: Probed) {
    this.#caller = caller;
    this.instanceName = instanceName;
    this.capabilities = probed.capabilities;
    const { cache_capabilities: cache } = probed.capabilities;
    if (cache === null) throw new Error("the server announces no cache_capabilities: there is nothing to check");
    this.cache = cache;
    const main = DIGEST_FUNCTIONS.find(({ number, hashOf }) => cache.digest_functions.includes(number) && hashOf);
    if (main?.hashOf === undefined) {
      throw new Error(`none of the digest functions announced can be computed here: ${cache.digest_functions.join()}`);
    }
    this.fn = { ...main, hashOf: main.hashOf };
    this.offersFetch = probed.offersFetch;
    this.offersPush = probed.offersPush;
  }

  /** @throws where it cannot be reached, or is no cache. */
  static async connect(options: TargetOptions): Promise<Target> {
    const caller = new Caller(options);
    const { instanceName } = options;
    try {
      const capabilities = await caller.unary("GetCapabilities", { instance_name: instanceName });
      const offersFetch = await caller.isOffered("FetchBlob", { instance_name: instanceName });
      const offersPush = await caller.isOffered("PushBlob", { instance_name: instanceName });
      return new Target(caller, instanceName, { capabilities, offersFetch, offersPush });
    } catch (error) {
      caller.close();
      throw error;
    }
  }

  /** A unary call for this instance, by the main digest function. Failures reject with a `ServiceError`. */
  call<Name extends RpcName>(name: Name, request: object): Promise<Responses[Name]> {
    const fn = name === "GetCapabilities" || name === "QueryWriteStatus" ? {} : { digest_function: this.fn.number };
    return this.#caller.unary(name, { instance_name: this.instanceName, ...fn, ...request });
  }

  /** All responses of a server stream. */
  getTree(request: object): Promise<GetTreeResponseMessage[]> {
    const scope = { instance_name: this.instanceName, digest_function: this.fn.number };
    return this.#caller.serverStream("GetTree", { ...scope, ...request });
  }

  /** The first answer of Execute, or its failure. */
  async execute(request: object): Promise<unknown[]> {
    return this.#caller.serverStream("Execute", { instance_name: this.instanceName, ...request });
  }

  async read(resourceName: string, range: { offset?: number; limit?: number } = {}): Promise<Buffer> {
    const request = {
      resource_name: resourceName,
      read_offset: range.offset ?? 0,
      read_limit: range.limit ?? 0,
    };
    const responses = await this.#caller.serverStream("Read", request);
    return Buffer.concat(responses.map(({ data }) => data));
  }

  /**
   * Sends the messages and ends the stream, unless the server answers before.
   * @param options `keepOpen`: does not end it, so that only an early answer resolves; `headers`: for this call.
   * @returns `committed_size`
   */
  async write(
    messages: Iterable<WriteRequestMessage>,
    options: { keepOpen?: boolean; headers?: Readonly<Record<string, string>> } = {},
  ): Promise<number> {
    return (await this.#caller.clientStream("Write", messages, options)).committed_size;
  }

  /** Uploads the whole of `data` in order. */
  upload(resourceName: string, data: Uint8Array, messageBytes: number = MESSAGE_BYTES): Promise<number> {
    return this.write(writeRequests(resourceName, data, messageBytes));
  }

  queryWriteStatus(resourceName: string): Promise<Responses["QueryWriteStatus"]> {
    return this.#caller.unary("QueryWriteStatus", { resource_name: resourceName });
  }

  /** Bytes that the server has never seen. */
  freshBlob(sizeBytes: number): Blob {
    return this.blobOf(randomBytes(sizeBytes));
  }

  blobOf(bytes: Uint8Array): Blob {
    return { bytes: Buffer.from(bytes), hash: this.fn.hashOf(bytes) };
  }

  get emptyBlob(): Blob {
    return { bytes: Buffer.alloc(0), hash: this.fn.emptyHash };
  }

  /** Stores blobs in one batch. @throws where one of them is refused. */
  async store(...blobs: readonly Blob[]): Promise<void> {
    const requests = blobs.map((blob) => ({ digest: digestOf(blob), data: blob.bytes }));
    const { responses } = await this.call("BatchUpdateBlobs", { requests });
    for (const { status: got } of responses) {
      if (got !== null && got.code !== status.OK)
        throw new Error(`a blob to prepare the row was refused: ${got.message}`);
    }
  }

  async storeNew(sizeBytes: number): Promise<Blob> {
    const blob = this.freshBlob(sizeBytes);
    await this.store(blob);
    return blob;
  }

  /** @returns the hashes of those that are missing. */
  async missing(...blobs: readonly Blob[]): Promise<readonly string[]> {
    const { missing_blob_digests } = await this.call("FindMissingBlobs", { blob_digests: blobs.map(digestOf) });
    return missing_blob_digests.map(({ hash }) => hash);
  }

  blobName(blob: Blob, options: BlobNameOptions = {}): string {
    return this.#scoped(blobPath(blob, options.fn ?? this.fn, options.compressor));
  }

  uploadName(blob: Blob, options: BlobNameOptions = {}): string {
    return this.#scoped(`uploads/${randomUUID()}/${blobPath(blob, options.fn ?? this.fn, options.compressor)}`);
  }

  /** Behind the instance name. */
  #scoped(path: string): string {
    return this.instanceName === "" ? path : `${this.instanceName}/${path}`;
  }

  [Symbol.dispose](): void {
    this.#caller.close();
  }
}

interface Probed {
  readonly capabilities: ServerCapabilities;
  readonly offersFetch: boolean;
  readonly offersPush: boolean;
}

export function digestOf({ bytes, hash }: Blob): DigestMessage {
  return { hash, size_bytes: bytes.length };
}

/** `data` in messages of the size asked for; one message for no data. */
export function* writeRequests(
  resourceName: string,
  data: Uint8Array,
  messageBytes: number = MESSAGE_BYTES,
): Generator<WriteRequestMessage> {
  let offset = 0;
  do {
    const end = Math.min(offset + messageBytes, data.length);
    yield {
      resource_name: resourceName,
      write_offset: offset,
      finish_write: end === data.length,
      data: data.subarray(offset, end),
    };
    offset = end;
  } while (offset < data.length);
}

function blobPath({ bytes, hash }: Blob, { segment }: DigestFunction, compressor?: string): string {
  const segments = compressor === undefined ? ["blobs"] : ["compressed-blobs", compressor];
  if (segment !== undefined) segments.push(segment);
  return [...segments, hash, bytes.length].join("/");
}

/** One connection and the forms of calls over it. */
class Caller {
  readonly #client: Client;
  readonly #headers: TargetOptions["headers"];

  constructor({ endpoint, tlsCa, headers }: TargetOptions) {
    const channel: ChannelCredentials =
      tlsCa === undefined ? credentials.createInsecure() : credentials.createSsl(tlsCa);
    this.#client = new Client(endpoint, channel, {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
    });
    this.#headers = headers;
  }

  unary<Name extends RpcName>(name: Name, request: object): Promise<Responses[Name]> {
    const { promise, resolve, reject } = Promise.withResolvers<Responses[Name]>();
    const { path, encode, decode } = rpcDefinition(name);
    this.#client.makeUnaryRequest(path, encode, decode, request, this.#metadata(), callOptions(), (error, value) => {
      if (value === undefined) reject(error ?? new Error(`${name} ended with neither answer nor error`));
      else resolve(value);
    });
    return promise;
  }

  async serverStream<Name extends RpcName>(name: Name, request: object): Promise<Responses[Name][]> {
    const { path, encode, decode } = rpcDefinition(name);
    const call = this.#client.makeServerStreamRequest(path, encode, decode, request, this.#metadata(), callOptions());
    const responses: Responses[Name][] = [];
    for await (const response of call as AsyncIterable<Responses[Name]>) responses.push(response);
    return responses;
  }

  async clientStream<Name extends RpcName>(
    name: Name,
    requests: Iterable<object>,
    options: { keepOpen?: boolean; headers?: Readonly<Record<string, string>> },
  ): Promise<Responses[Name]> {
    const answer = Promise.withResolvers<Responses[Name]>();
    const { path, encode, decode } = rpcDefinition(name);
    let ended = false;
    const call = this.#client.makeClientStreamRequest<object, Responses[Name]>(
      path,
      encode,
      decode,
      this.#metadata(options.headers),
      callOptions(),
      (error, value) => {
        ended = true;
        if (value === undefined) answer.reject(error ?? new Error(`${name} ended with neither answer nor error`));
        else answer.resolve(value);
      },
    );
    for (const request of requests) {
      if (ended) break;
      if (!call.write(request)) await drained(call, answer.promise);
    }
    if (options.keepOpen !== true) call.end();
    return await answer.promise;
  }

  async isOffered(name: RpcName, request: object): Promise<boolean> {
    try {
      await this.unary(name, request);
      return true;
    } catch (error) {
      if (!isServiceError(error)) throw error;
      return error.code !== status.UNIMPLEMENTED;
    }
  }

  close(): void {
    this.#client.close();
  }

  #metadata(headers: Readonly<Record<string, string>> = {}): Metadata {
    const metadata = new Metadata();
    for (const [name, value] of [...this.#headers, ...Object.entries(headers)]) {
      metadata.add(name, name.endsWith("-bin") ? Buffer.from(value, "latin1") : value);
    }
    return metadata;
  }
}

function callOptions(): { deadline: number } {
  return { deadline: Date.now() + CALL_TIMEOUT_MS };
}

/** Resolves when the call takes more, or is over: a call that has ended never drains. */
async function drained(call: ClientWritableStream<object>, ended: Promise<unknown>): Promise<void> {
  const waiting = new AbortController();
  const drain = once(call, "drain", { signal: waiting.signal }).catch(() => undefined);
  await Promise.race([drain, ended.catch(() => undefined)]);
  waiting.abort();
}
