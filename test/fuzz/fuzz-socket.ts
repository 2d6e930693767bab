import { Duplex } from "node:stream";
import type { Socket } from "node:net";
import type { SeededRandom } from "../support/seeded-random.ts";

/** What may follow a chunk in the buffer that connections receive into, so that a view held too long shows. */
const OVERWRITTEN = 0xee;

/** The server's end of a connection without a system below: a case decides what comes in and when output is taken. */
export class FuzzSocket extends Duplex {
  readonly remoteAddress = "192.0.2.1";
  readonly remotePort = 1;
  readonly #random: SeededRandom;
  /** Chance that what is written is not taken at once. */
  readonly #reluctance: number;
  readonly #taken: Buffer[] = [];
  #pendingWrite: (() => void) | undefined;

  constructor(random: SeededRandom, reluctance: number) {
    super({ allowHalfOpen: true, writableHighWaterMark: 16 * 1024 });
    this.#random = random;
    this.#reluctance = reluctance;
  }

  /** For those who take sockets only; what a connection asks of one is all here. */
  asSocket(): Socket {
    return this as unknown as Socket;
  }

  setNoDelay(): this {
    return this;
  }

  /** What the server has sent. */
  get sent(): Buffer {
    return Buffer.concat(this.#taken);
  }

  /** Receives `bytes`, which are gone afterwards, as they are in the buffer that all connections share. */
  receive(bytes: Buffer): void {
    const chunk = Buffer.from(bytes);
    this.emit("data", chunk);
    chunk.fill(OVERWRITTEN);
  }

  /** Takes what it has left waiting. */
  takeOutput(): void {
    const taken = this.#pendingWrite;
    this.#pendingWrite = undefined;
    taken?.();
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.#take([chunk], callback);
  }

  override _writev(chunks: { chunk: Buffer }[], callback: () => void): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      callback,
    );
  }

  #take(chunks: readonly Buffer[], callback: () => void): void {
    // Copied when it is taken: what was handed over must not have changed by then.
    const taken = (): void => {
      this.#taken.push(...chunks.map((chunk) => Buffer.from(chunk)));
      callback();
    };
    if (this.#random.fraction() < this.#reluctance) this.#pendingWrite = taken;
    else taken();
  }
}
