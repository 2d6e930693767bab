import type { MemoryBudget } from "../../cache/memory-budget.ts";
import { FRAME_HEADER_BYTES } from "../../http2/frame-format.ts";

/**
 * gRPC's framing of messages:
 *
 *     byte   0          1   2   3   4    5 …
 *          ┌────────────┬─────────────┬──────────
 *          │ compressed │   length    │ message
 *          └────────────┴─────────────┴──────────
 */
export const MESSAGE_PREFIX_BYTES = 5;

/** A message up to this size that goes on in the next DATA frame of its chunk is put together there. */
const STITCHED_BYTES_MAX = 64 * 1024;
const NO_CHUNK = Buffer.alloc(0);

/** A message that comes in parts is gathered in a buffer that is so large until more has come. */
const FIRST_BUFFER_BYTES = 64 * 1024;

export interface AssemblerOptions {
  readonly messageBytesMax: number;
  /** What messages that are still incomplete take their room from. */
  readonly memory: MemoryBudget;
  readonly sink: MessageSink;
}

export interface MessageSink {
  /** @param heldBytes of the budget, to be given back once the message is taken. */
  onMessage(message: Buffer, isCompressed: boolean, heldBytes: number): void;
  /** The first bytes of a message. @returns whether the sink takes it in parts, as they arrive. */
  onFirstPart(bytes: Buffer, isCompressed: boolean): boolean;
  onPart(bytes: Buffer, isLast: boolean): void;
  /** What was held up for want of memory has been gone through, as another chunk would be; or what is wrong. */
  onResumed(fault: AssemblyFault | undefined): void;
}

export type AssemblyFault = "tooLarge" | "badFlag" | "budgetSpent";

/**
 * Cuts the body of a call into messages; the prefix is judged before a byte of the message is kept (HAZARDS H16).
 *
 *   1. A message within one DATA frame is a view of the chunk that was received.
 *   2. One that goes on in the next frame, behind its header h, is a view, too: the rest is moved up over the header.
 *      Clients send messages of 16 KiB and a little more, in frames of 16 KiB: it is the little that moves.
 *
 *          │ 16 KiB of message A │ h │ rest of A │ B …      ─►      │ all of A        │ · · │ B …
 *
 *   3. Any other is copied into a buffer of its own, at the end of the chunk at the latest; or it is not put together at
 *      all, where the sink takes it in parts.
 *
 * Where there is no memory for such a buffer, what arrives is set aside until there is: the client gets no room for
 * more, so that is a window of the stream at the most.
 */
export class MessageAssembler {
  readonly #options: AssemblerOptions;
  #prefix = 0;
  #prefixBytes = 0;
  #isCompressed = false;
  /** Of the message whose prefix is complete. */
  #messageBytes = 0;
  /** The beginning of a message as a view: of #viewed from #viewStart to #viewEnd. */
  #viewed: Buffer = NO_CHUNK;
  #viewStart = 0;
  #viewEnd = 0;
  /** Of a message that the sink takes in parts. */
  #passedBytes = 0;
  #gathered: Buffer | undefined;
  #gatheredBytes = 0;
  /** In order, since there was no memory for the first of it. */
  readonly #setAside: Buffer[] = [];
  /** Gives up waiting for memory; undefined where nothing is set aside. */
  #stopWaiting: (() => void) | undefined;
  #isClosed = false;

  constructor(options: AssemblerOptions) {
    this.#options = options;
  }

  /** Bytes of the incomplete message so far, its prefix included. */
  get pendingBytes(): number {
    return this.#prefixBytes + this.#viewEnd - this.#viewStart + this.#gatheredBytes + this.#passedBytes;
  }

  /** Whether {@link releaseView} has to be called before the next chunk is pushed. */
  get holdsView(): boolean {
    return this.#viewEnd > this.#viewStart;
  }

  /** Those of them that the sink has not been told of. */
  get unreportedBytes(): number {
    return this.#passedBytes > 0 ? 0 : this.pendingBytes;
  }

  /** Whether bytes are set aside: of them nobody has been told. */
  get isWaiting(): boolean {
    return this.#stopWaiting !== undefined;
  }

  /** Length of the message that is too large, for the client to be told. */
  get messageBytes(): number {
    return this.#messageBytes;
  }

  /** @returns what is wrong; then nothing more may be pushed. */
  push(chunk: Buffer, start: number, end: number): AssemblyFault | undefined {
    let at = start;
    if (this.#stopWaiting !== undefined) {
      this.#setAside.push(Buffer.from(chunk.subarray(start, end)));
      return undefined;
    }
    // The sink may have given up in the middle of it.
    while (at < end && !this.#isClosed) {
      if (this.#prefixBytes < MESSAGE_PREFIX_BYTES) {
        at = this.#readPrefix(chunk, at, end);
        if (this.#prefixBytes < MESSAGE_PREFIX_BYTES) return undefined;
        const fault = this.#judge();
        if (fault !== undefined) return fault;
      }
      // An empty message is complete by now; of any other, a byte may yet have to come.
      if (this.#prefixBytes === 0 || at === end) continue;
      const take = Math.min(end - at, this.#messageBytes + MESSAGE_PREFIX_BYTES - this.pendingBytes);
      if (take === this.#messageBytes && this.#gathered === undefined) this.#emit(chunk.subarray(at, at + take), 0);
      else if (!this.#keep(chunk, at, at + take)) return this.#wait(chunk, at, end);
      at += take;
    }
    return undefined;
  }

  /** Copies what is held as a view of the chunk. */
  releaseView(): AssemblyFault | undefined {
    return this.#gatherView() ? undefined : this.#wait(NO_CHUNK, 0, 0);
  }

  /** Gives up the incomplete message; nothing more is taken. */
  close(): void {
    this.#isClosed = true;
    this.#dropView();
    this.#stopWaiting?.();
    this.#stopWaiting = undefined;
    this.#setAside.length = 0;
    const heldBytes = this.#gathered?.length ?? 0;
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    if (heldBytes > 0) this.#options.memory.give(heldBytes);
  }

  #readPrefix(chunk: Buffer, start: number, end: number): number {
    let at = start;
    if (this.#prefixBytes === 0 && end - at >= MESSAGE_PREFIX_BYTES) {
      this.#isCompressed = chunk[at] === 1;
      this.#prefix = chunk[at]!;
      this.#messageBytes = chunk.readUInt32BE(at + 1);
      this.#prefixBytes = MESSAGE_PREFIX_BYTES;
      return at + MESSAGE_PREFIX_BYTES;
    }
    if (this.#prefixBytes === 0) {
      this.#prefix = chunk[at++]!;
      this.#isCompressed = this.#prefix === 1;
      this.#messageBytes = 0;
      this.#prefixBytes = 1;
    }
    while (at < end && this.#prefixBytes < MESSAGE_PREFIX_BYTES) {
      this.#messageBytes = this.#messageBytes * 256 + chunk[at++]!;
      this.#prefixBytes++;
    }
    return at;
  }

  #judge(): AssemblyFault | undefined {
    if (this.#prefix > 1) return "badFlag";
    if (this.#messageBytes > this.#options.messageBytesMax) return "tooLarge";
    // An empty message is complete without another byte.
    if (this.#messageBytes === 0) this.#emit(Buffer.alloc(0), 0);
    return undefined;
  }

  /** Part of a message. @returns false where there is no memory for it. */
  #keep(chunk: Buffer, start: number, end: number): boolean {
    if (this.#passedBytes > 0) return this.#pass(chunk, start, end);
    if (this.#gathered !== undefined) return this.#gather(chunk, start, end);
    if (this.pendingBytes === MESSAGE_PREFIX_BYTES && this.#beginParts(chunk, start, end)) return true;
    if (this.#messageBytes > STITCHED_BYTES_MAX) return this.#gather(chunk, start, end);
    if (!this.holdsView) {
      this.#viewed = chunk;
      this.#viewStart = start;
      this.#viewEnd = end;
      return true;
    }
    if (this.#viewed !== chunk || start - this.#viewEnd !== FRAME_HEADER_BYTES) {
      return this.#gatherView() && this.#gather(chunk, start, end);
    }
    chunk.copyWithin(this.#viewEnd, start, end);
    this.#viewEnd += end - start;
    if (this.#viewEnd - this.#viewStart < this.#messageBytes) return true;
    const message = chunk.subarray(this.#viewStart, this.#viewEnd);
    this.#dropView();
    this.#emit(message, 0);
    return true;
  }

  #beginParts(chunk: Buffer, start: number, end: number): boolean {
    if (!this.#options.sink.onFirstPart(chunk.subarray(start, end), this.#isCompressed)) return false;
    this.#passedBytes = end - start;
    return true;
  }

  #pass(chunk: Buffer, start: number, end: number): true {
    this.#passedBytes += end - start;
    const isLast = this.#passedBytes === this.#messageBytes;
    if (isLast) {
      this.#passedBytes = 0;
      this.#prefixBytes = 0;
    }
    this.#options.sink.onPart(chunk.subarray(start, end), isLast);
    return true;
  }

  #gatherView(): boolean {
    const { holdsView } = this;
    const [viewed, start, end] = [this.#viewed, this.#viewStart, this.#viewEnd];
    this.#dropView();
    if (!holdsView || this.#gather(viewed, start, end)) return true;
    this.#setAside.push(Buffer.from(viewed.subarray(start, end)));
    return false;
  }

  /** Sets aside what is left of the chunk, until there is memory for the whole message. */
  #wait(chunk: Buffer, start: number, end: number): AssemblyFault | undefined {
    if (end > start) this.#setAside.push(Buffer.from(chunk.subarray(start, end)));
    const heldBytes = this.#gathered?.length ?? 0;
    this.#stopWaiting = this.#options.memory.wait(this.#messageBytes - heldBytes, heldBytes, this.#resume);
    return this.#stopWaiting === undefined ? "budgetSpent" : undefined;
  }

  readonly #resume = (isGranted: boolean): void => {
    this.#stopWaiting = undefined;
    this.#options.sink.onResumed(isGranted ? this.#replay() : "budgetSpent");
  };

  #replay(): AssemblyFault | undefined {
    this.#enlarge(this.#messageBytes);
    for (const bytes of this.#setAside.splice(0)) {
      // What comes after this message may have to wait, too; then this sets it aside again, in order.
      const fault = this.push(bytes, 0, bytes.length);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  #dropView(): void {
    this.#viewed = NO_CHUNK;
    this.#viewStart = 0;
    this.#viewEnd = 0;
  }

  #gather(chunk: Buffer, start: number, end: number): boolean {
    const neededBytes = this.#gatheredBytes + end - start;
    if ((this.#gathered?.length ?? 0) < neededBytes && !this.#grow(neededBytes)) return false;
    const gathered = this.#gathered!;
    chunk.copy(gathered, this.#gatheredBytes, start, end);
    this.#gatheredBytes = neededBytes;
    if (neededBytes === this.#messageBytes) {
      this.#gathered = undefined;
      this.#emit(gathered.subarray(0, neededBytes), gathered.length);
    }
    return true;
  }

  /**
   * At first, room is made for what has come, not for what is announced: a prefix is cheap to send. Then for all of it
   * at once, as from the beginning where parts have had their share: messages that each had a part and waited for the
   * rest would hold each other up.
   */
  #grow(neededBytes: number): boolean {
    const { memory } = this.#options;
    const oldBytes = this.#gathered?.length ?? 0;
    const isFirst = oldBytes === 0 && neededBytes <= FIRST_BUFFER_BYTES && FIRST_BUFFER_BYTES < this.#messageBytes;
    if (isFirst && memory.takePart(FIRST_BUFFER_BYTES)) this.#enlarge(FIRST_BUFFER_BYTES);
    else if (memory.take(this.#messageBytes - oldBytes)) this.#enlarge(this.#messageBytes);
    else return false;
    return true;
  }

  #enlarge(bytes: number): void {
    const grown = Buffer.allocUnsafeSlow(bytes);
    this.#gathered?.copy(grown, 0, 0, this.#gatheredBytes);
    this.#gathered = grown;
  }

  #emit(message: Buffer, heldBytes: number): void {
    this.#prefixBytes = 0;
    this.#gatheredBytes = 0;
    this.#options.sink.onMessage(message, this.#isCompressed, heldBytes);
  }
}
