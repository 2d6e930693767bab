import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { BenchOptions, Report } from "./bench-options.ts";
import type { SizeClass } from "./blob-plan.ts";
import { onCpus } from "./cpu-pinning.ts";
import { LoadGenerator, type LoadMeasurement, type LoadOperation, type LoadOrder } from "./load-generator.ts";
import { ProcessMeter } from "./process-meter.ts";
import type { RunningSystem } from "./systems/system.ts";

/**
 * A fresh server, and rows of what is measured on it. Its files stay until the whole bench ends: blocks that were just
 * freed are several times as fast on a virtual disk as others, and whoever gets them would win (README).
 */
export class ServerBench implements AsyncDisposable {
  readonly #options: BenchOptions;
  readonly #server: RunningSystem;
  readonly #report: Report;

  private constructor(options: BenchOptions, server: RunningSystem, report: Report) {
    this.#options = options;
    this.#server = server;
    this.#report = report;
  }

  static async start(options: BenchOptions, report: Report): Promise<ServerBench> {
    const directory = mkdtempSync(join(options.directory, "server-"));
    const server = await options.system.start({
      directory,
      maxBytes: (Math.ceil((2 * (options.runBytes + options.mixBytes)) / 2 ** 30) + 4) * 2 ** 30,
      wrapper: onCpus(options.serverCpus),
    });
    return new ServerBench(options, server, report);
  }

  get endpoint(): string {
    return this.#server.endpoint;
  }

  /** Client threads for blobs of these sizes; the options' connections and writers unless others are given. */
  async load(
    classes: readonly SizeClass[],
    bytes: number,
    given: { endpoint?: string; writers?: number; connections?: number } = {},
  ): Promise<LoadGenerator> {
    const { writers, connections, endpoint } = { ...this.#options, endpoint: this.endpoint, ...given };
    const threads = Math.min(this.#options.clientThreads, writers, connections);
    return await LoadGenerator.start({ endpoint, classes, bytes, concurrency: writers, connections }, threads);
  }

  /** A row of calls; uploads to a server of files have none: the files are put there. */
  async measure(
    scenario: string,
    load: LoadGenerator,
    operation: LoadOperation,
    order: Partial<LoadOrder> = {},
  ): Promise<void> {
    const run = (): Promise<LoadMeasurement> => this.run(load, operation, order);
    if (this.#server.documentRoot !== undefined && operation === "upload") await run();
    else await this.measureRun(scenario, run, order.batchBlobs);
  }

  /** The same calls without a row. */
  async run(load: LoadGenerator, operation: LoadOperation, order: Partial<LoadOrder> = {}): Promise<LoadMeasurement> {
    const directory = this.#server.documentRoot;
    if (directory === undefined) return await load.run(operation, order);
    if (operation === "upload") return await load.run("fileWrite", { directory });
    if (operation === "readBack") return await load.run("fileRead", order);
    throw new RangeError(`${operation} cannot be had from files`);
  }

  /** A row of whatever `run` does to the server. */
  async measureRun(scenario: string, run: () => Promise<LoadMeasurement>, itemsPerOperation = 1): Promise<void> {
    using meter = new ProcessMeter(this.#server.pid);
    const serverRssIdleMib = meter.rssPeakMib;
    const measurement = await run();
    const { cpuSeconds, threadCpuSeconds, rssPeakMib } = meter;
    this.#report({
      scenario,
      system: this.#options.system.name,
      durability: this.#options.system.durability,
      itemsPerOperation,
      ...measurement,
      serverCpuSeconds: cpuSeconds,
      serverThreadCpuSeconds: threadCpuSeconds,
      serverRssPeakMib: rssPeakMib,
      serverRssIdleMib,
    });
  }

  /** @throws where the server does not end as it should. */
  async stop(): Promise<void> {
    await this.#server.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }
}
