import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { ServerProcess } from "../test/support/server-process.ts";
import type { BenchOptions, Report } from "./bench-options.ts";
import type { SizeClass } from "./blob-plan.ts";
import { onCpus } from "./cpu-pinning.ts";
import { LoadGenerator, type LoadOperation } from "./load-generator.ts";
import { ProcessMeter } from "./process-meter.ts";

/**
 * A fresh server, and rows of what is measured on it. Its files stay until the whole bench ends: blocks that were just
 * freed are several times as fast on a virtual disk as others, and whoever gets them would win (README).
 */
export class ServerBench implements AsyncDisposable {
  readonly #options: BenchOptions;
  readonly #server: ServerProcess;
  readonly #report: Report;

  private constructor(options: BenchOptions, server: ServerProcess, report: Report) {
    this.#options = options;
    this.#server = server;
    this.#report = report;
  }

  static async start(options: BenchOptions, report: Report): Promise<ServerBench> {
    const directory = mkdtempSync(join(options.directory, "server-"));
    const server = await ServerProcess.start({
      directory,
      durability: options.durability,
      // Room for everything: nothing is to be retired while uploads are measured.
      maxSize: `${Math.ceil((2 * (options.runBytes + options.mixBytes)) / 2 ** 30) + 4}GiB`,
      extraArguments: ["--grpc-transport", options.transport],
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

  async measure(
    scenario: string,
    load: LoadGenerator,
    operation: LoadOperation,
    order: { batchBlobs?: number; passes?: number } = {},
  ): Promise<void> {
    using meter = new ProcessMeter(this.#server.pid);
    const serverRssIdleMib = meter.rssPeakMib;
    const measurement = await load.run(operation, order);
    const { cpuSeconds: serverCpuSeconds, rssPeakMib: serverRssPeakMib } = meter;
    const { transport, durability } = this.#options;
    const server = { serverCpuSeconds, serverRssPeakMib, serverRssIdleMib };
    this.#report({
      scenario,
      transport,
      durability,
      itemsPerOperation: order.batchBlobs ?? 1,
      ...measurement,
      ...server,
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
