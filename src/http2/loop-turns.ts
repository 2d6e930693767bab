/** How long the event loop may be away for a turn. */
const TURN_MS = 0.5;

interface TurnSize {
  /** How much is done in a turn, whatever it is counted in: at the most, and where it takes long. */
  readonly max: number;
  readonly min: number;
  /** What somebody does, as a rule, who has waited for a turn. */
  readonly share: number;
}

interface TurnOptions {
  /** Calls back at the end of a turn of the event loop. Default: `setImmediate`. */
  readonly atEnd?: (call: () => void) => void;
  /** In milliseconds. */
  readonly now?: () => number;
}

const KIB = 1024;

/** Of bytes that are sent. */
export function sendTurns(options?: TurnOptions): LoopTurns {
  return new LoopTurns({ max: 4096 * KIB, min: 64 * KIB, share: 256 * KIB }, options);
}

/** Of requests and connections that begin. */
export function requestTurns(options?: TurnOptions): LoopTurns {
  return new LoopTurns({ max: 64, min: 4, share: 1 }, options);
}

/**
 * What many clients ask for at once is done in turns of the event loop, so that others are heard in between. A value in the
 * page cache and a client that takes all of it would otherwise be sent to the end, and so would all of those that came at
 * the same time; a thousand requests in one piece would all begin before anything else is done, and be in memory together.
 *
 * A turn that took long is followed by a smaller one, and one that had too little room and was short by a larger one: what
 * sending a megabyte or beginning a call costs depends on the client, too, and on the system.
 */
export class LoopTurns {
  readonly #size: TurnSize;
  readonly #atEnd: (call: () => void) => void;
  readonly #now: () => number;
  #room: number;
  #left: number;
  #waiting: (() => void)[] = [];
  #isEndAwaited = false;
  #beganAtMs = 0;

  constructor(size: TurnSize, { atEnd = setImmediate, now = () => performance.now() }: TurnOptions = {}) {
    this.#size = size;
    this.#atEnd = atEnd;
    this.#now = now;
    this.#room = size.max;
    this.#left = size.max;
  }

  /** Whether what comes now has to {@link wait}. */
  get isOver(): boolean {
    return this.#left <= 0;
  }

  /** So much is done in this turn. */
  spend(amount: number): void {
    this.#awaitEnd();
    this.#left -= amount;
  }

  /** Calls back in a later turn, those first that have waited longest. */
  wait(goOn: () => void): void {
    this.#awaitEnd();
    this.#waiting.push(goOn);
  }

  /** @returns what to wait for before anything more is done; undefined while the turn has room. */
  next(): Promise<void> | undefined {
    if (!this.isOver) return undefined;
    return new Promise((resolve) => this.wait(resolve));
  }

  #awaitEnd(): void {
    if (this.#isEndAwaited) return;
    this.#isEndAwaited = true;
    this.#beganAtMs = this.#now();
    this.#atEnd(this.#onTurnEnd);
  }

  readonly #onTurnEnd = (): void => {
    this.#isEndAwaited = false;
    this.#adapt(this.#now() - this.#beganAtMs);
    this.#left = this.#room;
    if (this.#waiting.length > 0) this.#resume();
  };

  /** Those that have waited; who has more to do than there is room for waits behind those that had nothing of this turn. */
  #resume(): void {
    this.#awaitEnd();
    const waiting = this.#waiting;
    this.#waiting = [];
    const countMax = Math.min(waiting.length, this.#room / this.#size.share);
    let count = 0;
    while (count < countMax && !this.isOver) waiting[count++]!();
    this.#waiting = [...waiting.slice(count), ...this.#waiting];
  }

  #adapt(tookMs: number): void {
    const { max, min } = this.#size;
    const spent = this.#room - this.#left;
    if (tookMs > TURN_MS) this.#room = Math.max(min, Math.min(this.#room, spent) / 2);
    else if (this.isOver) this.#room = Math.min(max, this.#room * 2);
  }
}
