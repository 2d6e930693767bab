type Call = () => void;

/** What is called at the end of a turn of the event loop. */
export class TurnEnd {
  readonly #schedule: (call: Call) => void;
  #first: Call[] = [];
  #last: Call[] = [];
  #isAwaited = false;

  constructor(schedule: (call: Call) => void = setImmediate) {
    this.#schedule = schedule;
  }

  /** Calls back at the end of this turn, before what {@link last} was given. */
  readonly first = (call: Call): void => {
    this.#first.push(call);
    this.#await();
  };

  /**
   * Calls back at the end of this turn for work of which there is more than a turn has room for. With `setImmediate` alone it
   * would come first, because it goes on from turn to turn, and answers that are ready would leave behind it each time.
   */
  readonly last = (call: Call): void => {
    this.#last.push(call);
    this.#await();
  };

  #await(): void {
    if (this.#isAwaited) return;
    this.#isAwaited = true;
    this.#schedule(this.#callAll);
  }

  /** What is given meanwhile is for the end of the next turn; so is what comes behind a call that throws. */
  readonly #callAll = (): void => {
    const calls = [...this.#first, ...this.#last];
    this.#first = [];
    this.#last = [];
    this.#isAwaited = false;
    let count = 0;
    try {
      while (count < calls.length) calls[count++]!();
    } finally {
      for (; count < calls.length; count++) this.first(calls[count]!);
    }
  };
}

/** Of this thread. */
export const turnEnd = new TurnEnd();
