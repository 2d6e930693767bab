/** Look-ups of each kind. */
export interface LookupCounts {
  hits: number;
  misses: number;
}

export interface TopNamesOptions<Kind extends string> {
  readonly kinds: readonly Kind[];
  /** Names that are counted by themselves. */
  readonly namesMax: number;
}

interface Tally<Kind extends string> {
  readonly counts: Record<Kind, LookupCounts>;
  /** Calls lately: each age halves it. */
  recentCalls: number;
}

export const OTHER_NAMES = "(other)";
const NO_NAME = "(none)";
/** Longer ones are cut: clients choose them. */
const NAME_CHARACTERS_MAX = 100;
/** Of those that have no place, this many are watched at a time. */
const NEWCOMERS_MAX = 1024;
/** A newcomer takes a place by this many calls at the least in an age, so that those who come once do not. */
const NEWCOMER_CALLS_MIN = 16;
const AGE_CALLS = 1 << 14;

/** As labels have it. */
export function shownName(name: string): string {
  return name === "" ? NO_NAME : name.slice(0, NAME_CHARACTERS_MAX);
}

/**
 * Counts by names that clients make up, in bounded memory: the first to come have a place each, all others are counted
 * together, and one of those that calls more often than the least of those with a place takes it over.
 *
 *     places       javac 812 · link 77 · protoc 3           recent calls
 *     newcomers    kotlinc 2 → 3 → 4: takes the place of protoc
 *     other        all without a place
 *
 * A client that makes up a name for each call gets none of them. What a name had counted goes with its place: if it comes
 * back it starts from 0, as a process that was restarted does.
 */
export class TopNames<Kind extends string> {
  readonly #options: TopNamesOptions<Kind>;
  readonly #placed = new Map<string, Tally<Kind>>();
  readonly #newcomers = new Map<string, number>();
  readonly #others: Tally<Kind>;
  #callsOfAge = 0;

  constructor(options: TopNamesOptions<Kind>) {
    this.#options = options;
    this.#others = this.#tally(0);
  }

  /** Counts one call. */
  count(name: string, kind: Kind, hits: number, misses: number): void {
    const shown = shownName(name);
    const tally = this.#placed.get(shown) ?? this.#place(shown);
    const counts = tally.counts[kind];
    counts.hits += hits;
    counts.misses += misses;
    tally.recentCalls += 1;
    this.#callsOfAge += 1;
    if (this.#callsOfAge === AGE_CALLS) this.#age();
  }

  /** Those with a place, and the others together where there are any. */
  *counts(): Generator<[name: string, counts: Readonly<Record<Kind, Readonly<LookupCounts>>>]> {
    for (const [name, { counts }] of this.#placed) yield [name, counts];
    if (this.#others.recentCalls > 0) yield [OTHER_NAMES, this.#others.counts];
  }

  #place(name: string): Tally<Kind> {
    if (this.#placed.size < this.#options.namesMax) return this.#take(name, 0);
    const calls = (this.#newcomers.get(name) ?? 0) + 1;
    if (calls < NEWCOMER_CALLS_MIN || !this.#displace(calls)) {
      if (this.#newcomers.size >= NEWCOMERS_MAX) this.#newcomers.clear();
      this.#newcomers.set(name, calls);
      return this.#others;
    }
    this.#newcomers.delete(name);
    return this.#take(name, calls);
  }

  #take(name: string, recentCalls: number): Tally<Kind> {
    const tally = this.#tally(recentCalls);
    this.#placed.set(name, tally);
    return tally;
  }

  /** Frees the place of the one that calls the least, if that is less. */
  #displace(calls: number): boolean {
    let leastName = "";
    let leastCalls = Infinity;
    for (const [name, { recentCalls }] of this.#placed) {
      if (recentCalls < leastCalls) [leastName, leastCalls] = [name, recentCalls];
    }
    return calls > leastCalls && this.#placed.delete(leastName);
  }

  #age(): void {
    this.#callsOfAge = 0;
    this.#newcomers.clear();
    for (const tally of this.#placed.values()) tally.recentCalls /= 2;
  }

  #tally(recentCalls: number): Tally<Kind> {
    const counts = Object.fromEntries(this.#options.kinds.map((kind) => [kind, { hits: 0, misses: 0 }]));
    return { counts: counts as Record<Kind, LookupCounts>, recentCalls };
  }
}
