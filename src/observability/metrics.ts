import type { ShedReason } from "../cache/cache-error.ts";
import type { CacheMeter } from "../cache/cache-meter.ts";
import { VALUE_SPACES } from "../cache/entry-key.ts";
import { AggregatorRegistry, Counter, Gauge, type Metric, type MetricObject, Registry } from "prom-client";
import { DurationTally } from "./duration-tally.ts";
import type { Histogram } from "./histogram-values.ts";
import type { ShownAccount } from "./instance-accounts.ts";
import { KeptHistograms } from "./kept-histograms.ts";

interface Declaration {
  readonly type: "counter" | "gauge" | "durations";
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

/** Every metric of the process but the engine's, declared once. Units are in the names; times are seconds. */
const METRICS = {
  rpcCalls: {
    type: "counter",
    name: "kura_rpc_calls_total",
    help: "gRPC calls ended, by method and status (ok, notFound, unavailable, ...)",
    labels: ["method", "status"],
  },
  rpcSeconds: {
    type: "durations",
    name: "kura_rpc_duration_seconds",
    help: "Time from the start of a gRPC call to its end",
    labels: ["method"],
  },
  rpcInFlight: { type: "gauge", name: "kura_rpc_in_flight", help: "gRPC calls being answered", labels: [] },
  httpRequests: {
    type: "counter",
    name: "kura_http_requests_total",
    help: "HTTP/1.1 requests answered, by protocol (status, bazel, gradle, ...; none: no such path), method and status",
    labels: ["protocol", "method", "status"],
  },
  httpSeconds: {
    type: "durations",
    name: "kura_http_request_duration_seconds",
    help: "Time from the headers of an HTTP/1.1 request to the end of its answer, by protocol",
    labels: ["protocol"],
  },
  lookups: {
    type: "counter",
    name: "kura_lookups_total",
    help: "Look-ups by kind (cas, ac, find_missing, gradle, nx, ...) and result (hit, miss)",
    labels: ["kind", "result"],
  },
  bytes: {
    type: "counter",
    name: "kura_bytes_total",
    help: "Bytes of values by kind (cas, ac, gradle, nx, ...) and direction (read, written)",
    labels: ["kind", "direction"],
  },
  requestsShed: {
    type: "counter",
    name: "kura_requests_shed_total",
    help: "Requests that clients have to come again with, by protocol (grpc, http) and reason (rate: --request-rate; memory: --memory-budget; room: any other bound)",
    labels: ["protocol", "reason"],
  },
  requestMemoryBytes: {
    type: "gauge",
    name: "kura_request_memory_bytes",
    help: "Memory taken by large requests and batch answers, which have a quarter of --memory-budget",
    labels: [],
  },
  requestMemoryWaiters: {
    type: "gauge",
    name: "kura_request_memory_waiters",
    help: "Requests that wait for such memory",
    labels: [],
  },
  connections: { type: "gauge", name: "kura_connections", help: "Open TCP connections", labels: [] },
  connectionsAccepted: {
    type: "counter",
    name: "kura_connections_accepted_total",
    help: "Connections by protocol (http1, http2)",
    labels: ["protocol"],
  },
  connectionsMax: { type: "gauge", name: "kura_connections_max", help: "--max-connections", labels: [] },
  connectionsRefused: {
    type: "counter",
    name: "kura_connections_refused_total",
    help: "Connections closed at once because --max-connections were open",
    labels: [],
  },
  authFailures: {
    type: "counter",
    name: "kura_auth_failures_total",
    help: "Requests refused for want of rights, by kind (no_credentials, bad_credentials, not_allowed, busy)",
    labels: ["kind"],
  },
  info: {
    type: "gauge",
    name: "kura_info",
    help: "Always 1; the labels describe the process",
    labels: ["version", "durability"],
  },
  instanceStoredBytes: {
    type: "gauge",
    name: "kura_instance_stored_bytes",
    help: "Bytes that are stored on account of an instance, where accounts are kept; the largest ones",
    labels: ["instance"],
  },
  instanceQuotaBytes: {
    type: "gauge",
    name: "kura_instance_quota_bytes",
    help: "What such an instance may have stored at the most, where it has a quota",
    labels: ["instance"],
  },
  ready: { type: "gauge", name: "kura_ready", help: "1 while /readyz answers 200, else 0", labels: [] },
  residentBytes: {
    type: "gauge",
    name: "kura_resident_memory_bytes",
    help: "Resident set size of the process",
    labels: [],
  },
  cpuSeconds: {
    type: "counter",
    name: "kura_cpu_seconds_total",
    help: "CPU time of all threads of the process, by mode (user, system)",
    labels: ["mode"],
  },
  startTime: {
    type: "gauge",
    name: "kura_start_time_seconds",
    help: "When the process was started, in seconds since the epoch",
    labels: [],
  },
  openDescriptors: {
    type: "gauge",
    name: "kura_open_file_descriptors",
    help: "Open file descriptors of the process, sockets included; 0 where the system does not tell",
    labels: [],
  },
  descriptorsMax: {
    type: "gauge",
    name: "kura_file_descriptors_max",
    help: "File descriptors that the process may have open",
    labels: [],
  },
  listenerActiveSeconds: {
    type: "counter",
    name: "kura_listener_active_seconds_total",
    help: "Time that the thread of each listener was not waiting for work; one second a second is all it has",
    labels: ["listener"],
  },
} as const satisfies Record<string, Declaration>;

/** From a look-up in memory to a large blob over a slow line. */
const DURATION_BUCKETS_SECONDS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

interface Instrument<Label extends string> {
  readonly counter: Counter<Label>;
  readonly gauge: Gauge<Label>;
  readonly durations: DurationTally;
}
type Declared = typeof METRICS;
type Instruments = {
  readonly [Name in keyof Declared]: Instrument<Declared[Name]["labels"][number]>[Declared[Name]["type"]];
};

/** What the engine tells about itself: its numbers by camel-case name, and those of each shard. */
export interface EngineFigures {
  /** Of the main thread; each listener thread has its own. */
  readonly stagingMemoryBytes?: number;
  readonly hotRecordBytes?: number;
  readonly shards: readonly object[];
}

export const METRICS_CONTENT_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

/** The metrics of one thread, as a message carries them. */
export type MetricValues = readonly Omit<MetricObject, "collect">[];

type LookupKind = Parameters<CacheMeter["countLookups"]>[0];
type LookupResult = Parameters<CacheMeter["countLookups"]>[1];
type ByteKind = Parameters<CacheMeter["countBytes"]>[0];
type ByteDirection = Parameters<CacheMeter["countBytes"]>[1];

const VALUE_PROTOCOLS = Object.keys(VALUE_SPACES) as (keyof typeof VALUE_SPACES)[];

/** The metrics of one thread of a server, in a registry of its own, so that two servers in one process do not meet. */
export class Metrics implements CacheMeter {
  readonly registry = new Registry();
  readonly instruments: Instruments;
  readonly #collectors: (() => void)[] = [];
  /** Since the last scrape. */
  readonly #lookups = sums<LookupKind, LookupResult>(
    ["cas", "ac", "find_missing", ...VALUE_PROTOCOLS],
    ["hit", "miss"],
  );
  readonly #bytes = sums<ByteKind, ByteDirection>(["cas", "ac", ...VALUE_PROTOCOLS], ["read", "written"]);

  constructor() {
    const made = Object.entries<Declaration>(METRICS).map(([name, declaration]) => [name, this.#make(declaration)]);
    this.instruments = Object.fromEntries(made) as Instruments;
    // There from the first scrape: what begins with its first refusal has no rate that an alert could see.
    for (const protocol of ["grpc", "http"] as const) {
      for (const reason of ["rate", "memory", "room"] as const)
        this.instruments.requestsShed.inc({ protocol, reason }, 0);
    }
  }

  /** Runs before every scrape, for values that are looked up rather than counted. */
  onScrape(collect: () => void): void {
    this.#collectors.push(collect);
  }

  countLookups(...[kind, result, count]: Parameters<CacheMeter["countLookups"]>): void {
    this.#lookups[kind][result] += count;
  }

  countBytes(...[kind, direction, bytes]: Parameters<CacheMeter["countBytes"]>): void {
    this.#bytes[kind][direction] += bytes;
  }

  countShed(protocol: "grpc" | "http", reason: ShedReason): void {
    this.instruments.requestsShed.inc({ protocol, reason });
  }

  /** Each number becomes a gauge `kura_engine_<snake_case>`; those of shards have the label `shard`. */
  setEngineFigures(figures: EngineFigures): void {
    for (const [name, value] of Object.entries(figures)) {
      if (typeof value === "number") this.#engineGauge(snakeCase(name), []).set(value);
    }
    this.#setShardFigures(figures.shards);
  }

  /** Names that are not among them any more are gone. */
  setAccounts(accounts: readonly ShownAccount[]): void {
    const { instanceStoredBytes, instanceQuotaBytes } = this.instruments;
    for (const gauge of [instanceStoredBytes, instanceQuotaBytes]) gauge.reset();
    for (const { instance, storedBytes, quotaBytes } of accounts) {
      instanceStoredBytes.set({ instance }, storedBytes);
      if (quotaBytes !== undefined) instanceQuotaBytes.set({ instance }, quotaBytes);
    }
  }

  /** Each becomes a histogram `kura_engine_shard_<snake_case>` with the label `shard`. */
  setEngineHistograms(ofShards: Readonly<Record<string, readonly Histogram[]>>): void {
    for (const [name, histograms] of Object.entries(ofShards)) {
      const kept = this.#shardHistograms(snakeCase(name));
      for (const [shard, histogram] of histograms.entries()) kept.set(String(shard), histogram);
    }
  }

  #setShardFigures(shards: readonly object[]): void {
    for (const [shard, shardFigures] of shards.entries()) {
      for (const [name, value] of Object.entries(shardFigures)) {
        this.#engineGauge(`shard_${snakeCase(name)}`, ["shard"]).set({ shard: String(shard) }, value);
      }
    }
  }

  /** Prometheus text format. */
  async scrape(): Promise<string> {
    this.#collect();
    return await this.registry.metrics();
  }

  #collect(): void {
    for (const collect of this.#collectors) collect();
    this.#handOver(this.#lookups, (kind, result, count) => this.instruments.lookups.inc({ kind, result }, count));
    this.#handOver(this.#bytes, (kind, direction, bytes) => this.instruments.bytes.inc({ kind, direction }, bytes));
  }

  /** Moves what was summed up since the last scrape to an instrument, which makes an object of its labels. */
  #handOver(
    sums: Record<string, Record<string, number>>,
    add: (kind: string, label: string, amount: number) => void,
  ): void {
    for (const [kind, amounts] of Object.entries(sums)) {
      for (const [label, amount] of Object.entries(amounts)) {
        if (amount > 0) add(kind, label, amount);
        amounts[label] = 0;
      }
    }
  }

  /** What `scrape` would tell, for {@link sumMetrics}. */
  async values(): Promise<MetricValues> {
    this.#collect();
    const metrics = await this.registry.getMetricsAsJSON();
    // A registry passes on whatever its metrics answer; functions do not cross to another thread.
    return metrics.map(({ name, help, type, aggregator, values }) => ({ name, help, type, aggregator, values }));
  }

  #engineGauge(name: string, labelNames: readonly string[]): Gauge {
    const metricName = `kura_engine_${name}`;
    const existing = this.registry.getSingleMetric(metricName);
    if (existing instanceof Gauge) return existing;
    const help = `Storage engine: ${name.replaceAll("_", " ")}`;
    return new Gauge({ name: metricName, help, labelNames, registers: [this.registry] });
  }

  #shardHistograms(name: string): KeptHistograms {
    const metricName = `kura_engine_shard_${name}`;
    const existing: unknown = this.registry.getSingleMetric(metricName);
    if (existing instanceof KeptHistograms) return existing;
    const help = `Storage engine: ${name.replaceAll("_", " ")} of each shard`;
    const made = new KeptHistograms({ name: metricName, help, label: "shard" });
    this.registry.registerMetric(made as unknown as Metric);
    return made;
  }

  #make({ type, name, help, labels }: Declaration): Counter | Gauge | DurationTally {
    const options = { name, help, labelNames: labels, registers: [this.registry] };
    switch (type) {
      case "counter":
        return new Counter(options);
      case "gauge":
        return new Gauge(options);
      case "durations": {
        const tally = new DurationTally({
          name,
          help,
          label: labels[0] ?? "",
          boundsSeconds: DURATION_BUCKETS_SECONDS,
        });
        this.registry.registerMetric(tally as unknown as Metric);
        return tally;
      }
    }
  }
}

/** The metrics of several threads as one, in Prometheus text format: each value is the sum of theirs. */
export async function sumMetrics(ofThreads: readonly MetricValues[]): Promise<string> {
  return await AggregatorRegistry.aggregate([...ofThreads]).metrics();
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function sums<Kind extends string, Label extends string>(kinds: readonly Kind[], labels: readonly Label[]) {
  const zeros = () => Object.fromEntries(labels.map((label) => [label, 0])) as Record<Label, number>;
  return Object.fromEntries(kinds.map((kind) => [kind, zeros()])) as Record<Kind, Record<Label, number>>;
}
