import { isIPv6 } from "node:net";
import process from "node:process";
import { roleIncludes } from "./auth/role.ts";
import { type Clock, systemClock } from "./clock.ts";
import { type Config, hasCredentials, keepsAccounts } from "./config.ts";
import { descriptorLimit } from "./config/descriptor-limit.ts";
import { UploadExchange, type UploadHolder } from "./grpc/upload-exchange.ts";
import { ConnectionSlots } from "./listener/connection-slots.ts";
import { exchangePeers } from "./listener/exchange-peers.ts";
import { KeptUploads } from "./listener/kept-uploads.ts";
import { largestBlobBytes, Listener, type ListenerEntryStore } from "./listener/listener.ts";
import { areSameFiles, hasListenerFiles, type ListenerFiles, readListenerFiles } from "./listener/listener-files.ts";
import type { ListenerReport, MainMethods } from "./listener/listener-protocol.ts";
import { ListenerThread } from "./listener/listener-thread.ts";
import { refuseTakenPort } from "./listener/taken-port.ts";
import type { UploadPeers } from "./grpc/resumable-uploads.ts";
import { isLoopbackAddress } from "./loopback-address.ts";
import type { Logger } from "./observability/logger.ts";
import type { Histogram } from "./observability/histogram-values.ts";
import { type InstanceAccount, shownAccounts } from "./observability/instance-accounts.ts";
import { clientLookups } from "./observability/client-metrics.ts";
import { type EngineFigures, sumMetrics } from "./observability/metrics.ts";
import { observeListenerThread, observeProcess } from "./observability/process-metrics.ts";
import { RequestObservers } from "./observability/request-observers.ts";
import { Readiness } from "./readiness.ts";
import type { InheritedSocket } from "./service-manager/service-environment.ts";
import type { ListenerStoreData } from "./storage/listener/listener-protocol.ts";
import { StorageEngine } from "./storage/storage-engine.ts";
import type { CallHandlers } from "./thread-calls.ts";
import { VERSION } from "./version.ts";

/** The storage engine as the server needs it. */
export interface Engine extends ListenerEntryStore, AsyncDisposable {
  /** Resolves once all of its threads have answered. @throws where one is not running. */
  heartbeat(): Promise<void>;
  stats(): EngineFigures;
  /** What is stored for whom; none where no accounts are kept. */
  accounts(): readonly InstanceAccount[];
  /** By name, those of each shard. */
  histograms(): Readonly<Record<string, readonly Histogram[]>>;
  /** Why nothing can be written now; undefined where all is well. */
  readonly readOnlyReason: string | undefined;
  /** Makes room for a listener thread beside the main one. @returns what its store is opened with. */
  attachListener(listenerIndex: number): ListenerStoreData;
  /** The thread is gone: resolves once nothing is left of it. */
  listenerEnded(listenerIndex: number): Promise<void>;
  readonly leftUploads: LeftBehind;
}

/** Uploads that an earlier process or an ended listener thread has left. */
export interface LeftBehind extends UploadHolder {
  /** Tells how many there are, now and at each change. */
  follow(follower: (count: number) => void): void;
}

export type OpenEngine = (config: Config, logger: Logger, clock: Clock) => Promise<Engine>;

export interface ServerDependencies {
  readonly logger: Logger;
  /** Default: the sharded store in `config.directory`. */
  readonly openEngine?: OpenEngine;
  readonly clock?: Clock;
  /** Served on instead of a port. */
  readonly inheritedSocket?: InheritedSocket | undefined;
  /** Where `--access-log` goes. Default: standard error. */
  readonly accessLogger?: Logger;
}

/** The main thread's place among the listeners. */
const MAIN_LISTENER = 0;
const READ_ONLY_CHECK_INTERVAL_MS = 1000;
/** How often the files of {@link ListenerFiles} are looked at. */
const FILES_CHECK_INTERVAL_MS = 2000;
/** Descriptors for reading segments, where the process may have eight times as many. */
const OPEN_SEGMENTS_MAX = 256;

export function startServer(config: Config, dependencies: ServerDependencies): Promise<KuraServer> {
  return KuraServer.start(config, dependencies);
}

/**
 * A running server: the listener of the main thread, those in threads of their own, and what there is once for all of
 * them. Disposing of it closes it with the drain time of its configuration.
 */
export class KuraServer implements AsyncDisposable {
  readonly readiness = new Readiness();
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #observers: RequestObservers;
  readonly #inheritedSocket: InheritedSocket | undefined;
  readonly #startedAtMs: number;
  readonly #connectionSlots: ConnectionSlots;
  readonly #keptUploads: KeptUploads;
  readonly #exchange = new UploadExchange();
  readonly #listener: Listener;
  readonly #threads: ListenerThread[] = [];
  #engine: Engine | undefined;
  #files: ListenerFiles;
  /** Why the files cannot be used as they are now. */
  #filesProblem: string | undefined;
  #readOnlyCheck: NodeJS.Timeout | undefined;
  #filesCheck: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #endpoint = "";
  #port = 0;

  private constructor(
    config: Config,
    { logger, clock = systemClock, inheritedSocket }: ServerDependencies,
    observers: RequestObservers,
  ) {
    const { connectionCountMax, listenerCount } = config;
    this.#config = config;
    this.#logger = logger;
    this.#clock = clock;
    this.#observers = observers;
    this.#inheritedSocket = inheritedSocket;
    this.#startedAtMs = clock.monotonicMs();
    this.#connectionSlots = new ConnectionSlots(connectionCountMax, MAIN_LISTENER, listenerCount);
    // What is left behind counts as if one more listener kept it.
    this.#keptUploads = new KeptUploads(MAIN_LISTENER, listenerCount + 1);
    this.#files = readListenerFiles(config);
    this.#listener = new Listener({
      config,
      logger,
      clock,
      readiness: this.readiness,
      files: this.#files,
      process: { describe: () => this.#describe(), scrape: () => this.#scrape() },
      observe: observers.observe,
      uploadPeers: this.#uploadPeers(),
      ...(listenerCount === 1 ? {} : { connectionSlots: this.#connectionSlots }),
    });
  }

  /**
   * Binds the port first, so that a port in use is found before the data is touched and `/readyz` tells of a long
   * start; then opens the engine and serves. From a socket that was inherited it takes connections when it serves them:
   * they wait there meanwhile.
   * @throws where the certificate, the port or the engine cannot be had; nothing is left open then.
   */
  static async start(config: Config, dependencies: ServerDependencies): Promise<KuraServer> {
    const { openEngine = openShardedStore, logger, accessLogger, inheritedSocket } = dependencies;
    const opening = RequestObservers.open(config, logger, accessLogger);
    const server = new KuraServer(config, dependencies, opening instanceof Promise ? await opening : opening);
    try {
      if (inheritedSocket === undefined) await server.#listen();
      await server.#serve(await openEngine(config, server.#logger, server.#clock));
      if (inheritedSocket !== undefined) await server.#listen();
    } catch (error) {
      await server.close(0);
      throw error;
    }
    return server;
  }

  /** `HOST:PORT` as bound, with brackets around an IPv6 address. */
  get endpoint(): string {
    return this.#endpoint;
  }

  /** Whether there are files that {@link reload} reads. */
  get hasFiles(): boolean {
    return hasListenerFiles(this.#files);
  }

  /**
   * Reads certificates and credentials again. Connections stay; from the next request on, callers are what the new files
   * say. Files that cannot be used leave everything as it is, and are reported once.
   */
  reload(): void {
    try {
      const files = readListenerFiles(this.#config);
      if (areSameFiles(files, this.#files)) return;
      this.#listener.useFiles(files);
      this.#files = files;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#filesProblem) this.#logger.error({ problem }, "changed files cannot be used");
      this.#filesProblem = problem;
      return;
    }
    this.#filesProblem = undefined;
    for (const thread of this.#threads) thread.call("useFiles", this.#files).catch(() => undefined);
    this.#logger.info("certificates and credentials were read again");
  }

  /** Resolves once every thread that serves has answered. @throws where one is not running. */
  async heartbeat(): Promise<void> {
    await Promise.all([this.#engine?.heartbeat(), ...this.#threads.map((thread) => thread.call("heartbeat", {}))]);
  }

  /**
   * HAZARDS H24: not ready, no new connections, GOAWAY; what is in flight finishes, or gets UNAVAILABLE after
   * `deadlineMs`; then the engine syncs and closes. Calling it again waits for the same end.
   */
  close(deadlineMs: number = this.#config.drainTimeoutMs): Promise<void> {
    this.#closing ??= this.#close(deadlineMs);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #listen(): Promise<void> {
    const { host, port, listenerCount } = this.#config;
    const inherited = this.#inheritedSocket;
    if (inherited === undefined && listenerCount > 1 && port !== 0) await refuseTakenPort(host, port);
    const { address, port: boundPort } =
      inherited === undefined ? await this.#listener.listen(port) : await this.#listener.listenOn(inherited.descriptor);
    this.#port = boundPort;
    this.#endpoint = `${isIPv6(address) ? `[${address}]` : address}:${boundPort}`;
    if (!isLoopbackAddress(address)) this.#warnOfExposure();
  }

  #warnOfExposure(): void {
    const { anonymousRole } = this.#config;
    const endpoint = this.#endpoint;
    if (roleIncludes(anonymousRole, "cas-writer")) {
      this.#logger.warn(
        { endpoint, anonymousRole },
        "ANYBODY WHO REACHES THIS ADDRESS CAN READ AND WRITE THE CACHE: it is not a loopback address, and callers need not show who they are",
      );
    }
    if (this.#files.tls === undefined && hasCredentials(this.#config)) {
      this.#logger.warn({ endpoint }, "passwords and tokens cross the network for all to read: there is no --tls-cert");
    }
  }

  async #serve(engine: Engine): Promise<void> {
    this.#engine = engine;
    const { durability, listenerCount, connectionCountMax } = this.#config;
    const { metrics } = this.#listener;
    const { leftUploads } = engine;
    this.#exchange.join(listenerCount, leftUploads);
    leftUploads.follow((count) => this.#keptUploads.note(count, listenerCount));
    this.#listener.serve(engine);
    metrics.instruments.info.set({ version: VERSION, durability }, 1);
    metrics.instruments.connectionsMax.set(connectionCountMax);
    observeProcess(metrics, descriptorLimit());
    observeListenerThread(metrics, MAIN_LISTENER);
    metrics.onScrape(() => this.#collect(engine));
    for (let index = MAIN_LISTENER + 1; index < listenerCount; index++) {
      this.#threads.push(this.#listenerThread(index, engine));
    }
    this.readiness.onChange((status) => {
      for (const thread of this.#threads) thread.call("showReadiness", status).catch(() => undefined);
    });
    await Promise.all(this.#threads.map((thread) => thread.start()));
    const followEngine = (): void => {
      if (engine.readOnlyReason === undefined) this.readiness.serve();
      else this.readiness.serveReadsOnly(engine.readOnlyReason);
    };
    followEngine();
    this.#readOnlyCheck = setInterval(followEngine, READ_ONLY_CHECK_INTERVAL_MS).unref();
    if (this.hasFiles) this.#filesCheck = setInterval(() => this.reload(), FILES_CHECK_INTERVAL_MS).unref();
  }

  /** What the main listener reaches others' uploads by. */
  #uploadPeers(): UploadPeers {
    const exchange = this.#exchange;
    exchange.join(MAIN_LISTENER, {
      committedBytes: (name) => this.#listener.uploads.bytesHere(name),
      surrender: (name) => this.#listener.uploads.surrender(name),
      forget: (name) => this.#listener.uploads.forget(name),
      dropKept: () => this.#listener.uploads.dropKept(),
    });
    return exchangePeers(
      {
        committedBytes: (name) => exchange.committedBytes(name),
        take: (...args) => exchange.take(MAIN_LISTENER, ...args),
        arrived: (name) => exchange.arrived(MAIN_LISTENER, name),
        forget: (name) => exchange.forget(MAIN_LISTENER, name),
        dropKept: () => exchange.dropKept(MAIN_LISTENER),
      },
      this.#keptUploads,
    );
  }

  #listenerThread(listenerIndex: number, engine: Engine): ListenerThread {
    const { logFormat } = this.#config;
    const logger = this.#logger;
    const thread = new ListenerThread({
      listenerIndex,
      data: () => {
        this.#exchange.join(listenerIndex, {
          committedBytes: async (name) => (await thread.call("bytesHere", { name })).bytes,
          surrender: async (name) => (await thread.call("surrender", { name })).detached,
          forget: (name) => thread.call("forget", { name }),
          dropKept: () => thread.call("dropKept", {}),
        });
        return {
          listenerIndex,
          config: this.#config,
          port: this.#port,
          logging: {
            level: logger.level as Config["logLevel"],
            format: logFormat,
            isTerminal: process.stderr.isTTY,
          },
          readiness: this.readiness.status,
          files: this.#files,
          store: engine.attachListener(listenerIndex),
          connectionSlots: this.#connectionSlots.buffer,
          requestRates: this.#listener.rates?.buffer,
          keptUploads: this.#keptUploads.buffer,
        };
      },
      handlers: this.#threadHandlers(listenerIndex),
      cleanUp: async () => {
        this.#exchange.leave(listenerIndex);
        this.#connectionSlots.giveAllOf(listenerIndex);
        this.#keptUploads.note(0, listenerIndex);
        await engine.listenerEnded(listenerIndex);
      },
      logger,
    });
    return thread;
  }

  #threadHandlers(listenerIndex: number): CallHandlers<MainMethods> {
    const exchange = this.#exchange;
    return {
      scrape: async () => ({ text: await this.#scrape() }),
      describe: async () => ({ description: await this.#describe() }),
      committedBytes: async ({ name }) => ({ bytes: await exchange.committedBytes(name) }),
      take: async ({ name, moreThanBytes }, { signal }) => ({
        detached: await exchange.take(listenerIndex, name, moreThanBytes, signal),
      }),
      arrived({ name }) {
        exchange.arrived(listenerIndex, name);
        return {};
      },
      forgetElsewhere({ name }) {
        exchange.forget(listenerIndex, name);
        return {};
      },
      async dropKeptElsewhere() {
        await exchange.dropKept(listenerIndex);
        return {};
      },
    };
  }

  async #close(deadlineMs: number): Promise<void> {
    this.readiness.drain();
    clearInterval(this.#readOnlyCheck);
    clearInterval(this.#filesCheck);
    await Promise.all([this.#listener.drain(deadlineMs), ...this.#threads.map((thread) => thread.stop(deadlineMs))]);
    await this.#engine?.[Symbol.asyncDispose]();
    await this.#observers[Symbol.asyncDispose]();
  }

  /** Of the listener threads that are running. */
  async #reports(): Promise<ListenerReport[]> {
    const reports = await Promise.all(this.#threads.map((thread) => thread.call("report", {}).catch(() => undefined)));
    return reports.filter((report) => report !== undefined);
  }

  async #scrape(): Promise<string> {
    const { metrics } = this.#listener;
    if (this.#threads.length === 0) return await metrics.scrape();
    const reports = await this.#reports();
    return await sumMetrics([await metrics.values(), ...reports.map((report) => report.metrics)]);
  }

  #collect(engine: Engine): void {
    const { metrics } = this.#listener;
    metrics.instruments.ready.set(this.readiness.ready ? 1 : 0);
    metrics.setEngineFigures(engine.stats());
    metrics.setEngineHistograms(engine.histograms());
    metrics.setAccounts(shownAccounts(engine.accounts()));
  }

  async #describe(): Promise<Record<string, unknown>> {
    const { durability, directory, shardCount, listenerCount, maxBytes, messageBytesMax, connectionCountMax } =
      this.#config;
    const { memoryBudgetBytes, stagingMemoryBytes, stagingDiskBytes, hotBlobBytesMax, minLeaseMs } = this.#config;
    const reports = await this.#reports();
    const total = (name: Exclude<keyof ListenerReport, "metrics">, here = 0): number =>
      reports.reduce((sum, report) => sum + report[name], here);
    const figures = this.#engine?.stats();
    return {
      version: VERSION,
      uptimeSeconds: Math.floor((this.#clock.monotonicMs() - this.#startedAtMs) / 1000),
      address: this.#endpoint,
      durability,
      directory,
      shardCount,
      listenerCount,
      limits: {
        maxBytes,
        blobBytesMax: this.#engine === undefined ? null : largestBlobBytes(this.#config, this.#engine),
        memoryBudgetBytes,
        stagingMemoryBytes,
        stagingDiskBytes,
        hotBlobBytesMax,
        minLeaseMs,
        messageBytesMax,
        connectionCountMax,
      },
      connections: total("connections", this.#listener.connectionCount),
      callsInFlight: total("callsInFlight", this.#listener.callsInFlight),
      instances: shownAccounts(this.#engine?.accounts() ?? []),
      lookups: clientLookups([await this.#listener.metrics.values(), ...reports.map(({ metrics }) => metrics)]),
      engine:
        figures === undefined
          ? null
          : {
              ...figures,
              stagingMemoryBytes: total("stagingMemoryBytes", figures.stagingMemoryBytes),
              hotRecordBytes: total("hotRecordBytes", figures.hotRecordBytes),
            },
    };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function openShardedStore(config: Config, logger: Logger, clock: Clock): Promise<Engine> {
  const { directory, maxBytes, shardCount, listenerCount, durability, atRest } = config;
  const { stagingMemoryBytes, stagingDiskBytes } = config;
  const { hotBlobBytesMax, minLeaseMs, instanceQuotas, segmentBytesMax, scrubBytesPerSecond, checkpointIntervalMs } =
    config;
  return StorageEngine.open({
    directory,
    maxBytes,
    shardCount,
    listenerCount,
    durability,
    atRest,
    stagingMemoryBytes,
    stagingDiskBytes,
    hotRecordBytesMax: hotBlobBytesMax,
    minLeaseMs,
    fairShare: keepsAccounts(config),
    quotaOf: (instanceName) => instanceQuotas.find(({ pattern }) => pattern.matches(instanceName))?.bytesMax,
    scrubBytesPerSecond,
    checkpointIntervalMs,
    openSegmentsMax: Math.floor(Math.min(OPEN_SEGMENTS_MAX, descriptorLimit() / 8)),
    ...(segmentBytesMax === undefined ? {} : { segmentBytesMax }),
    logger: logger.child({ part: "engine" }),
    clock,
  });
}
