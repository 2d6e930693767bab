import type { Metric } from "prom-client";
import { histogramOf, histogramValues } from "./histogram-values.ts";

interface Tally {
  /** Durations up to each bound and above the one before; the last: above all. */
  readonly counts: number[];
  sumSeconds: number;
}

/**
 * A histogram of durations with one label, for a registry of prom-client. Its own histograms make an object and a
 * string of the labels for each value, which costs more than all else that a small call takes to be counted.
 */
export class DurationTally {
  readonly type = "histogram";
  readonly aggregator = "sum";
  readonly name: string;
  readonly help: string;
  readonly #label: string;
  readonly #boundsSeconds: readonly number[];
  readonly #tallies = new Map<string, Tally>();

  constructor(options: { name: string; help: string; label: string; boundsSeconds: readonly number[] }) {
    this.name = options.name;
    this.help = options.help;
    this.#label = options.label;
    this.#boundsSeconds = options.boundsSeconds;
  }

  add(value: string, seconds: number): void {
    let tally = this.#tallies.get(value);
    if (tally === undefined) {
      tally = { counts: [...this.#boundsSeconds.map(() => 0), 0], sumSeconds: 0 };
      this.#tallies.set(value, tally);
    }
    let bucket = 0;
    while (bucket < this.#boundsSeconds.length && seconds > this.#boundsSeconds[bucket]!) bucket++;
    tally.counts[bucket]! += 1;
    tally.sumSeconds += seconds;
  }

  /** What a registry asks its metrics for. */
  async get(): Promise<Awaited<ReturnType<Metric["get"]>>> {
    const bounds = this.#boundsSeconds;
    const values = [...this.#tallies].flatMap(([value, { counts, sumSeconds }]) =>
      histogramValues(this.name, { [this.#label]: value }, { bounds, counts, sum: sumSeconds }),
    );
    return histogramOf(this, values);
  }

  reset(): void {
    this.#tallies.clear();
  }
}
