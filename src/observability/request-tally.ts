import type { DurationTally } from "./duration-tally.ts";
import type { Metrics } from "./metrics.ts";

/** Counts HTTP requests; what is counted reaches the registry at a scrape. */
export class RequestTally {
  /** Since the last scrape, by the labels as one text. */
  readonly #counts = new Map<string, number>();
  readonly #seconds: DurationTally;

  constructor(metrics: Metrics) {
    const { httpRequests, httpSeconds } = metrics.instruments;
    this.#seconds = httpSeconds;
    metrics.onScrape(() => {
      for (const [labels, count] of this.#counts) {
        const [protocol = "", method = "", status = ""] = labels.split(" ");
        httpRequests.inc({ protocol, method, status }, count);
      }
      this.#counts.clear();
    });
  }

  /** No label may hold a space. */
  count(protocol: string, method: string, status: number, durationMs: number): void {
    const labels = `${protocol} ${method} ${status}`;
    this.#counts.set(labels, (this.#counts.get(labels) ?? 0) + 1);
    this.#seconds.add(protocol, durationMs / 1000);
  }
}
