import { CacheError } from "../../cache/cache-error.ts";
import { type MemoryBudget, memoryExhausted } from "../../cache/memory-budget.ts";
import type { Http2Stream } from "../../http2/http2-stream.ts";
import type { MethodDefinition, PartDecoder } from "./handler.ts";
import type { Decompressor } from "./native-decompressor.ts";
import {
  type AssemblyFault,
  MESSAGE_PREFIX_BYTES,
  MessageAssembler,
  type MessageSink,
} from "./native-message-assembler.ts";

export interface RequestQueueOptions {
  readonly stream: Http2Stream;
  readonly definition: MethodDefinition<unknown, unknown>;
  /** Whether compressed messages may come. */
  readonly isGzip: boolean;
  readonly messageBytesMax: number;
  /** What messages that come in parts take their room from, and keep it until the next is taken or the call is over. */
  readonly memory: MemoryBudget;
  readonly decompressor: Decompressor;
  /** What has been received is wrong: the call has to end. */
  readonly onFault: (error: CacheError) => void;
}

interface WaitingRequest {
  /** Undefined where the request is decoded already. */
  bytes: Buffer | undefined;
  request: unknown;
  isCompressed: boolean;
  /** Whether it is made of views of the chunk in hand. */
  isBorrowed: boolean;
  /** What the client gets room for once the request is taken. */
  readonly unconsumedBytes: number;
  /** Of the budget. */
  readonly heldBytes: number;
}

interface PendingRead {
  resolve(isThere: boolean): void;
  reject(reason: unknown): void;
}

/** Tiny messages cost more than their bytes; so many may wait for a handler that does not keep up. */
const WAITING_REQUESTS_MAX = 65_536;

/**
 * The requests of one call, from the bytes of its stream to its handler. The client gets room for more as they are
 * taken, so that a handler that does not keep up holds it back. Until the end of a chunk they are views of it:
 *
 *     chunk ─► assembler ─► waiting ──┬─ the handler's consumer, in place
 *                                     └─ what it does not take is copied at the end of the chunk ─► take()
 */
export class RequestQueue implements MessageSink {
  readonly #options: RequestQueueOptions;
  readonly #assembler: MessageAssembler;
  readonly #partDecoder: PartDecoder<unknown> | undefined;
  readonly #waiting: WaitingRequest[] = [];
  /** Bytes of the incomplete message that were consumed already, so that the client can send the rest. */
  #consumedAhead = 0;
  #pendingRead: PendingRead | undefined;
  #halfClosed = false;
  /** The end came while what is before it waits for memory. */
  #endsLater = false;
  /** Of the request that was taken last. */
  #takenHeldBytes = 0;
  #awaitsChunkEnd = false;
  /** Of those that wait. */
  #borrowedCount = 0;
  #consumer: ((request: unknown) => boolean) | undefined;
  #failure: CacheError | undefined;

  constructor(options: RequestQueueOptions) {
    const { definition, messageBytesMax, memory } = options;
    this.#options = options;
    this.#partDecoder = definition.partDecoder?.();
    this.#assembler = new MessageAssembler({ messageBytesMax, memory, sink: this });
  }

  /** No further request will come, and none waits to be taken. */
  get isDrained(): boolean {
    return this.#halfClosed && this.#waiting.length === 0;
  }

  // What the stream brings

  push(chunk: Buffer, start: number, end: number): void {
    const fault = this.#assembler.push(chunk, start, end);
    if (fault !== undefined) return this.#options.onFault(this.#faultError(fault));
    if (!this.#awaitsChunkEnd && (this.#assembler.holdsView || this.#waiting.length > 0)) {
      this.#awaitsChunkEnd = true;
      this.#options.stream.awaitChunkEnd();
    }
    this.#consumeAhead();
  }

  endChunk(): void {
    if (!this.#awaitsChunkEnd) return;
    this.#awaitsChunkEnd = false;
    const fault = this.#assembler.releaseView();
    if (fault !== undefined) return this.#options.onFault(this.#faultError(fault));
    if (this.#pendingRead !== undefined) this.#offer();
    for (let i = this.#waiting.length - 1; this.#borrowedCount > 0; i--) {
      if (this.#waiting[i]!.isBorrowed) this.#keep(this.#waiting[i]!);
    }
    if (this.#waiting.length > 0) this.#settleRead(true);
    // The end came with this chunk, and the consumer has just taken what waited before it.
    else if (this.#halfClosed) this.#settleRead(false);
    else this.#consumeAhead();
  }

  end(): void {
    if (this.#assembler.isWaiting) {
      this.#endsLater = true;
      return;
    }
    if (this.#assembler.pendingBytes > 0) {
      return this.#options.onFault(new CacheError("invalid_argument", "request: the last message is cut short"));
    }
    this.#halfClosed = true;
    if (this.#waiting.length === 0) this.#settleRead(false);
  }

  /** Drops everything, and makes {@link more} throw. */
  fail(reason: CacheError): void {
    this.#failure = reason;
    this.close();
    this.#pendingRead?.reject(reason);
    this.#pendingRead = undefined;
  }

  /** Drops everything: nobody takes requests any more. */
  close(): void {
    this.#assembler.close();
    this.#borrowedCount = 0;
    let heldBytes = this.#takenHeldBytes;
    this.#takenHeldBytes = 0;
    for (const waiting of this.#waiting.splice(0)) heldBytes += waiting.heldBytes;
    if (heldBytes > 0) this.#options.memory.give(heldBytes);
  }

  // What the handler takes

  /** The next request; undefined where none is there. @throws what decoding throws. */
  take(): unknown {
    const next = this.#waiting[0];
    if (next === undefined || next.isCompressed) return undefined;
    const { definition } = this.#options;
    if (next.isBorrowed && (next.bytes === undefined || definition.isDecodedWithoutViews !== true)) this.#keep(next);
    this.#shift(next);
    return next.bytes === undefined ? next.request : definition.decodeRequest(next.bytes);
  }

  /** @see RequestStream.offerTo */
  offerTo(consumer: (request: unknown) => boolean): void {
    this.#consumer = consumer;
    this.#offer();
  }

  /** Waits until {@link take} has a request (true) or there will be none (false). */
  async more(): Promise<boolean> {
    if (this.#waiting.length === 0 && !this.#halfClosed && !(await this.#nextRequest())) return false;
    const next = this.#waiting[0];
    if (next?.isCompressed === true) await this.#decompress(next);
    return next !== undefined;
  }

  // What the assembler makes of the bytes

  onMessage(bytes: Buffer, isCompressed: boolean, heldBytes: number): void {
    const wireBytes = MESSAGE_PREFIX_BYTES + bytes.length;
    this.#add({ request: undefined, bytes, isCompressed, isBorrowed: heldBytes === 0, heldBytes }, wireBytes);
  }

  onFirstPart(bytes: Buffer, isCompressed: boolean): boolean {
    // Decompression takes its time, and order has to be kept: such messages are decoded as they are taken.
    if (this.#options.isGzip) return false;
    const request = isCompressed ? undefined : this.#partDecoder?.begin(bytes);
    if (request === undefined) return false;
    this.#addPart(request, MESSAGE_PREFIX_BYTES + bytes.length);
    return true;
  }

  onPart(bytes: Buffer, isLast: boolean): void {
    const { stream, definition, onFault } = this.#options;
    try {
      const request = this.#partDecoder!.continue(bytes, isLast);
      if (request === undefined) stream.consume(bytes.length);
      else this.#addPart(request, bytes.length);
    } catch (error) {
      const reason = error instanceof Error ? error.message : "undecodable";
      const name = `${definition.path.slice(1)} request`;
      onFault(new CacheError("invalid_argument", `${name}: expected an encoded message, got one with ${reason}`));
    }
  }

  onResumed(fault: AssemblyFault | undefined): void {
    if (fault !== undefined) return this.#options.onFault(this.#faultError(fault));
    this.#awaitsChunkEnd = true;
    this.endChunk();
    if (!this.#endsLater || this.#assembler.isWaiting) return;
    this.#endsLater = false;
    this.end();
  }

  #addPart(request: unknown, wireBytes: number): void {
    this.#add({ request, bytes: undefined, isCompressed: false, isBorrowed: true, heldBytes: 0 }, wireBytes);
  }

  #add(request: Omit<WaitingRequest, "unconsumedBytes">, wireBytes: number): void {
    const fault = this.#failure ?? this.#refusal(request.isCompressed);
    if (fault !== undefined) {
      if (request.heldBytes > 0) this.#options.memory.give(request.heldBytes);
      return this.#options.onFault(fault);
    }
    // What was consumed ahead may belong to several parts of a message.
    const consumedBytes = Math.min(this.#consumedAhead, wireBytes);
    this.#consumedAhead -= consumedBytes;
    if (request.isBorrowed) this.#borrowedCount++;
    this.#waiting.push({ ...request, unconsumedBytes: wireBytes - consumedBytes });
  }

  /** Gives the consumer what waits, in order, until it leaves something. */
  #offer(): void {
    for (let next = this.#waiting[0]; next !== undefined && !next.isCompressed; next = this.#waiting[0]) {
      if (this.#consumer === undefined || !this.#isDecoded(next) || !this.#consumer(next.request)) return;
      this.#shift(next);
    }
  }

  /** Decodes it, where that can be done without copying it first. */
  #isDecoded(waiting: WaitingRequest): boolean {
    if (waiting.bytes === undefined) return true;
    if (this.#partDecoder === undefined) return false;
    try {
      waiting.request = this.#options.definition.decodeRequest(waiting.bytes);
    } catch {
      // Whoever takes it is told.
      return false;
    }
    waiting.bytes = undefined;
    return true;
  }

  /** Copies what is about to be overwritten. */
  #keep(waiting: WaitingRequest): void {
    if (waiting.bytes === undefined) waiting.request = this.#partDecoder!.keep(waiting.request);
    else waiting.bytes = Buffer.from(waiting.bytes);
    waiting.isBorrowed = false;
    this.#borrowedCount--;
  }

  /** Takes the first request out. */
  #shift({ unconsumedBytes, heldBytes, isBorrowed }: WaitingRequest): void {
    const { stream, memory } = this.#options;
    this.#waiting.shift();
    if (isBorrowed) this.#borrowedCount--;
    stream.consume(unconsumedBytes);
    const givenBytes = this.#takenHeldBytes;
    // What is given back may be what the next message of this call waits for, which then comes here in the same turn.
    this.#takenHeldBytes = heldBytes;
    if (givenBytes > 0) memory.give(givenBytes);
    if (this.#waiting.length === 0) this.#consumeAhead();
  }

  #refusal(isCompressed: boolean): CacheError | undefined {
    if (isCompressed && !this.#options.isGzip) {
      return new CacheError("invalid_argument", "request: expected grpc-encoding gzip with a compressed message");
    }
    if (this.#waiting.length < WAITING_REQUESTS_MAX) return undefined;
    return new CacheError("resource_exhausted", "requests: too many small messages");
  }

  /** An incomplete message that the handler wants next may be larger than the window: the rest has to be let in. */
  #consumeAhead(): void {
    const ahead = this.#assembler.unreportedBytes - this.#consumedAhead;
    if (ahead <= 0 || this.#waiting.length > 0) return;
    this.#consumedAhead += ahead;
    this.#options.stream.consume(ahead);
  }

  #nextRequest(): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#pendingRead = { resolve, reject };
    });
  }

  #settleRead(isThere: boolean): void {
    this.#pendingRead?.resolve(isThere);
    this.#pendingRead = undefined;
  }

  async #decompress(waiting: WaitingRequest): Promise<void> {
    // Another thread reads the bytes, while the next chunk overwrites what was received.
    if (waiting.isBorrowed) this.#keep(waiting);
    try {
      waiting.bytes = await this.#options.decompressor.gunzip(waiting.bytes ?? Buffer.alloc(0));
    } catch (error) {
      if (this.#failure !== undefined) throw this.#failure;
      const isTooLarge = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
      throw isTooLarge ? this.#tooLarge("more") : new CacheError("invalid_argument", "request: expected gzip data");
    }
    if (this.#failure !== undefined) throw this.#failure;
    waiting.isCompressed = false;
  }

  #faultError(fault: AssemblyFault): CacheError {
    switch (fault) {
      case "tooLarge":
        return this.#tooLarge(`${this.#assembler.messageBytes}`);
      case "badFlag":
        return new CacheError("invalid_argument", "request: expected 0 or 1 as the compressed flag of a message");
      case "budgetSpent":
        return memoryExhausted();
    }
  }

  #tooLarge(gotBytes: string): CacheError {
    const { messageBytesMax } = this.#options;
    return new CacheError("resource_exhausted", `request: expected at most ${messageBytesMax} bytes, got ${gotBytes}`);
  }
}
