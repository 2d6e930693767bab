import type { OutputBuffer } from "../../src/http2/output-buffer.ts";

/** One gRPC message with its prefix, in consecutive parts. Parts may be shared by bodies; they never change. */
export type MessageParts = readonly Buffer[];

/** How far a request body is sent. A DATA frame holds one message or a part of one, as the clients of builds send it. */
export class RequestBody {
  readonly #messages: readonly MessageParts[];
  #messageIndex = 0;
  #messageBytes: number;
  #sentBytes = 0;

  constructor(messages: readonly MessageParts[]) {
    this.#messages = messages;
    this.#messageBytes = totalBytes(messages[0]);
  }

  get done(): boolean {
    return this.#messageIndex >= this.#messages.length;
  }

  /** What is left of the message in hand. */
  get messageBytesLeft(): number {
    return this.#messageBytes - this.#sentBytes;
  }

  /** Appends the next `bytes` bytes, at most {@link messageBytesLeft}. */
  send(bytes: number, output: OutputBuffer): void {
    const until = this.#sentBytes + bytes;
    let partStart = 0;
    for (const part of this.#messages[this.#messageIndex] ?? []) {
      const start = Math.max(this.#sentBytes - partStart, 0);
      const end = Math.min(until - partStart, part.length);
      if (start < end) output.append(part, start, end);
      partStart += part.length;
    }
    this.#sentBytes = until;
    if (until < this.#messageBytes) return;
    this.#messageIndex++;
    this.#messageBytes = totalBytes(this.#messages[this.#messageIndex]);
    this.#sentBytes = 0;
  }
}

function totalBytes(parts: MessageParts | undefined): number {
  let bytes = 0;
  for (const part of parts ?? []) bytes += part.length;
  return bytes;
}
