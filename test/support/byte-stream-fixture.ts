import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import type { WriteRequest, WriteResponse } from "../../src/grpc/byte-stream-messages.ts";
import { type ByteStreamOptions, ByteStreamService } from "../../src/grpc/byte-stream-service.ts";
import { type ResumableUploadsOptions, ResumableUploads } from "../../src/grpc/resumable-uploads.ts";
import { type CallContextOptions, callContext } from "./call-context.ts";
import { type CasContent, collect } from "./cas-content.ts";
import { ManualTimers } from "./manual-timers.ts";
import { MemoryEntryStore, type MemoryEntryStoreOptions } from "./memory-entry-store.ts";
import { RequestStream } from "./request-stream.ts";
import { responsesOf } from "./response-source.ts";

export interface ByteStreamFixtureOptions {
  readonly service?: Partial<ByteStreamOptions>;
  readonly uploads?: ResumableUploadsOptions;
  readonly entries?: MemoryEntryStoreOptions;
}

/** One Write whose messages the test sends. */
export interface OpenWrite {
  readonly stream: RequestStream<WriteRequest>;
  readonly abort: AbortController;
  readonly response: Promise<WriteResponse>;
}

/** The ByteStream service over memory, called without a transport. */
export class ByteStreamFixture {
  readonly timers = new ManualTimers();
  readonly entries: MemoryEntryStore;
  readonly blobs: EmptyBlobStore;
  readonly uploads: ResumableUploads;
  readonly service: ByteStreamService;

  constructor(options: ByteStreamFixtureOptions = {}) {
    this.entries = new MemoryEntryStore(options.entries);
    this.blobs = new EmptyBlobStore(new EntryBlobStore(this.entries));
    this.uploads = new ResumableUploads({ timers: this.timers, ...options.uploads });
    this.service = new ByteStreamService({
      blobs: this.blobs,
      uploads: this.uploads,
      timers: this.timers,
      ...options.service,
    });
  }

  openWrite(options: Omit<CallContextOptions, "signal"> = {}): OpenWrite {
    const stream = new RequestStream<WriteRequest>();
    const abort = new AbortController();
    const response = this.service.write(stream, callContext({ ...options, signal: abort.signal }));
    // The test awaits it later; until then a failure is not unhandled.
    response.catch(() => undefined);
    return { stream, abort, response };
  }

  /** A Write of these messages and a half-close. */
  write(messages: readonly WriteRequest[], options: Omit<CallContextOptions, "signal"> = {}): Promise<WriteResponse> {
    const { stream, response } = this.openWrite(options);
    stream.send(...messages);
    stream.end();
    return response;
  }

  /** A Write of the first `sizeBytes` bytes and a half-close without finish_write, so that they are kept. */
  async interruptAfter(name: string, content: CasContent, sizeBytes: number): Promise<void> {
    await this.write([writeRequest(name, 0, content.bytes.subarray(0, sizeBytes))]).catch(() => undefined);
  }

  status(name: string) {
    return this.service.queryWriteStatus({ resource_name: name }, callContext());
  }

  async read(name: string, offset = 0, limit = 0): Promise<Buffer> {
    const request = { resource_name: name, read_offset: offset, read_limit: limit };
    const chunks: Uint8Array[] = [];
    for await (const { data } of responsesOf(this.service.read(request, callContext()))) chunks.push(data);
    return Buffer.concat(chunks);
  }

  async stored({ digest }: CasContent): Promise<Buffer | undefined> {
    const content = await this.blobs.get(digest);
    return content && collect(content);
  }
}

export function writeRequest(name: string, offset: number, data: Uint8Array, isLast = false): WriteRequest {
  return { resource_name: name, write_offset: offset, finish_write: isLast, data: Buffer.from(data) };
}

/** A whole blob from `offset` on as Bazel sends it: the name in the first message only, finish_write in the last. */
export function writeRequests(name: string, content: CasContent, offset = 0, chunkBytes = 16 * 1024): WriteRequest[] {
  const { bytes } = content;
  const messages: WriteRequest[] = [];
  do {
    const end = Math.min(offset + chunkBytes, bytes.length);
    const firstName = messages.length === 0 ? name : "";
    messages.push(writeRequest(firstName, offset, bytes.subarray(offset, end), end === bytes.length));
    offset = end;
  } while (offset < bytes.length);
  return messages;
}

export function uploadNameOf({ digest }: CasContent, uploadId = "upload-1"): string {
  return `uploads/${uploadId}/blobs/${digest.hash}/${digest.sizeBytes}`;
}

export function blobNameOf({ digest }: CasContent): string {
  return `blobs/${digest.hash}/${digest.sizeBytes}`;
}
