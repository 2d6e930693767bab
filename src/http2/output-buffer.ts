/** Pieces up to this size are copied next to the frame headers; larger ones are sent from where they lie. */
const COPIED_BYTES_MAX = 2048;
/** Slabs double up to this size, so that a quiet connection holds little. */
const SLAB_BYTES_MIN = 1024;
const SLAB_BYTES_MAX = 32 * 1024;

/**
 * What a connection sends next, as few pieces as possible:
 *
 *     slab  │ sent │ HEADERS DATA h │ DATA h │ DATA h, trailers │ free … │
 *                    └─ piece 0 ──┘  └ p. 2 ┘ └─ piece 4 ──────┘
 *                              payload 1     payload 3
 *
 * A slab is only ever appended to, so that pieces may be on their way while it fills further; it is begun anew where
 * none is.
 */
export class OutputBuffer {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES_MIN);
  #pieceStart = 0;
  #end = 0;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #afterTaken: (() => void)[] = [];

  get bytes(): number {
    return this.#bytes;
  }

  /** The slab in which {@link reserve} gives room. */
  get slab(): Buffer {
    return this.#slab;
  }

  /** Room for `bytes` bytes, which the caller fills before it does anything else. @returns where in `slab`. */
  reserve(bytes: number): number {
    if (this.#end + bytes > this.#slab.length) this.#nextSlab(bytes);
    const at = this.#end;
    this.#end += bytes;
    this.#bytes += bytes;
    return at;
  }

  /** Sends `source` from `start` to `end`; it must not change until the socket has taken it. */
  append(source: Buffer, start: number, end: number): void {
    const bytes = end - start;
    if (bytes <= COPIED_BYTES_MAX) {
      const at = this.reserve(bytes);
      source.copy(this.#slab, at, start, end);
      return;
    }
    this.#seal();
    this.#pieces.push(start === 0 && end === source.length ? source : source.subarray(start, end));
    this.#bytes += bytes;
  }

  /** All pieces, in order; the buffer is empty then. */
  take(): Buffer[] {
    this.#seal();
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#bytes = 0;
    return pieces;
  }

  /** `call` is to be called once nothing of what is here now is needed any more. */
  afterTaken(call: () => void): void {
    this.#afterTaken.push(call);
  }

  /**
   * All that {@link afterTaken} was given for what {@link take} has just given, as one call, which does nothing when it is
   * called again or with an error; undefined where it was given nothing.
   */
  takeAfterTaken(): ((error?: Error | null) => void) | undefined {
    if (this.#afterTaken.length === 0) return undefined;
    const calls = this.#afterTaken;
    this.#afterTaken = [];
    return (error) => {
      if (error === undefined || error === null) for (const call of calls.splice(0)) call();
    };
  }

  /** Nothing of what was taken is needed any more: the slab is used again, rather than a new one when it is full. */
  reuseSlab(): void {
    if (this.#bytes > 0) return;
    this.#pieceStart = 0;
    this.#end = 0;
  }

  #seal(): void {
    if (this.#end > this.#pieceStart) this.#pieces.push(this.#slab.subarray(this.#pieceStart, this.#end));
    this.#pieceStart = this.#end;
  }

  #nextSlab(bytes: number): void {
    this.#seal();
    this.#slab = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(SLAB_BYTES_MAX, this.#slab.length * 2)));
    this.#pieceStart = 0;
    this.#end = 0;
  }
}
