import { type Histogram, histogramOf, histogramValues, type MetricAnswer } from "./histogram-values.ts";

/** Histograms with one label that somebody else keeps, for a registry of prom-client: looked up at each scrape. */
export class KeptHistograms {
  readonly type = "histogram";
  readonly aggregator = "sum";
  readonly name: string;
  readonly help: string;
  readonly #label: string;
  readonly #histograms = new Map<string, Histogram>();

  constructor(options: { name: string; help: string; label: string }) {
    this.name = options.name;
    this.help = options.help;
    this.#label = options.label;
  }

  set(value: string, histogram: Histogram): void {
    this.#histograms.set(value, histogram);
  }

  /** What a registry asks its metrics for. */
  async get(): Promise<MetricAnswer> {
    const values = [...this.#histograms].flatMap(([value, histogram]) =>
      histogramValues(this.name, { [this.#label]: value }, histogram),
    );
    return histogramOf(this, values);
  }

  reset(): void {
    this.#histograms.clear();
  }
}
