import type { DurationTally } from "./duration-tally.ts";
import type { Metrics } from "./metrics.ts";

/** Too many requests; insufficient storage. */
const SHED_STATUSES: ReadonlySet<number> = new Set([429, 507]);

/** Counts HTTP requests; what is counted reaches the registry at a scrape. */
export class RequestTally {
  /** Since the last scrape, by the labels as one text. */
  readonly #counts = new Map<string, number>();
  readonly #seconds: DurationTally;

  constructor(metrics: Metrics) {
    const { httpRequests, httpSeconds, requestsShed } = metrics.instruments;
    this.#seconds = httpSeconds;
    requestsShed.inc({ protocol: "http" }, 0);
    metrics.onScrape(() => {
      for (const [labels, count] of this.#counts) {
        const [protocol = "", method = "", status = ""] = labels.split(" ");
        httpRequests.inc({ protocol, method, status }, count);
        if (SHED_STATUSES.has(Number(status))) requestsShed.inc({ protocol: "http" }, count);
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
