import type { OutputBuffer } from "./output-buffer.ts";

/** The DATA of one stream that the connection has not taken yet. */
export class SendQueue {
  readonly #buffers: Buffer[] = [];
  /** What to call once the socket has taken the buffer in the same place. */
  readonly #afterTaken: ((() => void) | undefined)[] = [];
  /** Bytes of the first buffer that are taken already. */
  #taken = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** @param afterTaken called once the socket has taken the bytes; never where they are dropped. */
  push(buffer: Buffer, afterTaken?: () => void): void {
    if (buffer.length === 0) return;
    this.#buffers.push(buffer);
    this.#afterTaken.push(afterTaken);
    this.#bytes += buffer.length;
  }

  /** Moves the first `bytes` bytes; there have to be as many. */
  moveTo(output: OutputBuffer, bytes: number): void {
    this.#bytes -= bytes;
    for (let left = bytes; left > 0;) {
      const first = this.#buffers[0]!;
      const take = Math.min(left, first.length - this.#taken);
      output.append(first, this.#taken, this.#taken + take);
      this.#taken += take;
      left -= take;
      if (this.#taken < first.length) continue;
      this.#buffers.shift();
      const afterTaken = this.#afterTaken.shift();
      if (afterTaken !== undefined) output.afterTaken(afterTaken);
      this.#taken = 0;
    }
  }

  clear(): void {
    this.#buffers.length = 0;
    this.#afterTaken.length = 0;
    this.#taken = 0;
    this.#bytes = 0;
  }
}
