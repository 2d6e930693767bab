/** What is left, and not what there is, is divided: so that whoever comes next finds something, too. */
const SHARES = 8;
/** What may be held in any case: where it is less, what is around the bytes costs more than they do. */
const SHARE_BYTES_MIN = 16 * 1024;
/** More than anybody writes at once. */
const SHARE_BYTES_MAX = 1024 * 1024;
const BITS = 31;

/**
 * Bounds what waits for the clients of all connections together. Each may hold an eighth of what nobody holds yet:
 *
 *     ├───────────────────────── bytesMax ─────────────────────────┤
 *     │ held                                     │ share │ 7 more │
 *
 * So few that are slow hold much, and many hold little each, and all together less than there is: only what each may hold
 * in any case comes on top. Clients that take what they get hold nothing, however many others do not.
 */
export class OutputBudget {
  readonly #bytesMax: number;
  #heldBytes = 0;
  #shareBytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.change(0);
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** What one connection may hold now. A power of two, so that pieces of this size fit into memory that is kept for others. */
  get shareBytes(): number {
    return this.#shareBytes;
  }

  /** @param bytes more than before; less where negative. */
  change(bytes: number): void {
    this.#heldBytes += bytes;
    const share = Math.max(SHARE_BYTES_MIN, (this.#bytesMax - this.#heldBytes) / SHARES);
    this.#shareBytes = 2 ** (BITS - Math.clz32(Math.min(SHARE_BYTES_MAX, share)));
  }
}
