/** About what is written to sockets in a few milliseconds. */
const TURN_BYTES = 4 * 1024 * 1024;
/** Answers that go on in one turn, each with a piece. */
const RESUMED_MAX = 16;

/**
 * Responses leave in turns of the event loop. A value in the page cache and a client that takes all of it would otherwise
 * be sent to the end before anybody else is heard, and so would all of those that came at the same time.
 */
export class SendTurns {
  #leftBytes = TURN_BYTES;
  readonly #waiting: (() => void)[] = [];
  #isEndAwaited = false;

  /** @returns what to wait for before anything more is sent; undefined while the turn has room. */
  spend(bytes: number): Promise<void> | undefined {
    this.#leftBytes -= bytes;
    this.#awaitEnd();
    if (this.#leftBytes > 0) return undefined;
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  #awaitEnd(): void {
    if (this.#isEndAwaited) return;
    this.#isEndAwaited = true;
    setImmediate(this.#onTurnEnd);
  }

  readonly #onTurnEnd = (): void => {
    this.#isEndAwaited = false;
    this.#leftBytes = TURN_BYTES;
    for (const resume of this.#waiting.splice(0, RESUMED_MAX)) resume();
    if (this.#waiting.length > 0) this.#awaitEnd();
  };
}
