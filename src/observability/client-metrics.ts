import type { Metric } from "prom-client";
import type { ClaimedClient } from "../grpc/claimed-client.ts";
import type { ClientLookupKind, ClientMeter } from "../grpc/counted-lookups.ts";
import type { MetricAnswer } from "./histogram-values.ts";
import type { Metrics, MetricValues } from "./metrics.ts";
import { TopNames } from "./top-names.ts";

const KINDS = ["ac", "cas", "find_missing"] as const satisfies readonly ClientLookupKind[];
/** Names of each sort that each listener counts by themselves. */
const NAMES_MAX = 64;

/** By what look-ups are counted, each for itself: all combinations would be too many. */
const SORTS = {
  tool: "by the tool that asked, as it names itself",
  mnemonic: "by the mnemonic of the action that was asked for",
  instance: "by instance name",
} as const;
type Sort = keyof typeof SORTS;

const metricName = (sort: Sort): string => `kura_${sort}_lookups_total`;

/** Look-ups over gRPC by who asked, for the registry of a thread. */
export class ClientMetrics implements ClientMeter {
  readonly #tops = {
    tool: new TopNames<ClientLookupKind>({ kinds: KINDS, namesMax: NAMES_MAX }),
    mnemonic: new TopNames<ClientLookupKind>({ kinds: KINDS, namesMax: NAMES_MAX }),
    instance: new TopNames<ClientLookupKind>({ kinds: KINDS, namesMax: NAMES_MAX }),
  } satisfies Record<Sort, unknown>;

  constructor({ registry }: Metrics) {
    for (const sort of Object.keys(SORTS) as Sort[]) {
      const named = new NamedLookups(sort, this.#tops[sort]);
      registry.registerMetric(named as unknown as Metric);
    }
  }

  countLookups(
    { toolName, actionMnemonic }: ClaimedClient,
    instanceName: string,
    kind: ClientLookupKind,
    hits: number,
    misses: number,
  ): void {
    this.#tops.tool.count(toolName, kind, hits, misses);
    this.#tops.mnemonic.count(actionMnemonic, kind, hits, misses);
    this.#tops.instance.count(instanceName, kind, hits, misses);
  }
}

/** One metric of prom-client, looked up at each scrape. */
class NamedLookups {
  readonly type = "counter";
  readonly aggregator = "sum";
  readonly name: string;
  readonly help: string;
  readonly #sort: Sort;
  readonly #top: TopNames<ClientLookupKind>;

  constructor(sort: Sort, top: TopNames<ClientLookupKind>) {
    this.name = metricName(sort);
    this.help = `gRPC look-ups by kind (ac, cas, find_missing) and result (hit, miss), ${SORTS[sort]}; the most frequent ones`;
    this.#sort = sort;
    this.#top = top;
  }

  /** What a registry asks its metrics for. */
  async get(): Promise<MetricAnswer> {
    const values = [...this.#top.counts()].flatMap(([name, counts]) =>
      KINDS.flatMap((kind) => [
        { labels: { [this.#sort]: name, kind, result: "hit" }, value: counts[kind].hits },
        { labels: { [this.#sort]: name, kind, result: "miss" }, value: counts[kind].misses },
      ]),
    );
    const { name, help, type, aggregator } = this;
    return {
      name,
      help,
      type,
      aggregator,
      collect: () => {},
      values: values.filter(({ value }) => value > 0),
    } as never;
  }

  /** Counters of a registry that is reset start anew with it; these are looked up. */
  reset(): void {}
}

/** What prom-client does not say of its metrics as objects. */
interface LookupValues {
  readonly values: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}
type LookupsByKind = Readonly<Record<string, { hit: number; miss: number }>>;

/** The same of several threads together, as `/status` shows it: by sort, name and kind. */
export function clientLookups(ofThreads: readonly MetricValues[]): Readonly<Record<Sort, unknown>> {
  const lookupsOf = (sort: Sort): Readonly<Record<string, LookupsByKind>> => {
    const metrics = ofThreads.flat().filter(({ name }) => name === metricName(sort));
    // Not an object to begin with: a client may call itself `__proto__`.
    const byName = new Map<string, Record<string, { hit: number; miss: number }>>();
    for (const { labels, value } of metrics.flatMap((metric) => (metric as unknown as LookupValues).values)) {
      const { kind = "", result, [sort]: name = "" } = labels;
      const byKind = byName.get(name) ?? {};
      byName.set(name, byKind);
      const counts = (byKind[kind] ??= { hit: 0, miss: 0 });
      counts[result === "hit" ? "hit" : "miss"] += value;
    }
    return Object.fromEntries(byName);
  };
  return { tool: lookupsOf("tool"), mnemonic: lookupsOf("mnemonic"), instance: lookupsOf("instance") };
}
