import { isIPv6 } from "node:net";
import process from "node:process";
import { AssetStore } from "./asset/asset-store.ts";
import { Assets } from "./asset/assets.ts";
import { AddressGuard } from "./asset/origin/address-guard.ts";
import { OriginFetches } from "./asset/origin/origin-fetches.ts";
import type { BlobStore } from "./cache/blob-store.ts";
import { CompleteActionCache } from "./cache/complete-action-cache.ts";
import { EmptyBlobStore } from "./cache/empty-blob-store.ts";
import { EntryActionCache } from "./cache/entry-action-cache.ts";
import { EntryBlobStore } from "./cache/entry-blob-store.ts";
import type { EntryStore } from "./cache/entry-store.ts";
import { MeasuredActionCache } from "./cache/measured-action-cache.ts";
import { MeasuredBlobStore } from "./cache/measured-blob-store.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { Config } from "./config.ts";
import { descriptorLimit } from "./config/descriptor-limit.ts";
import { ConnectionListener } from "./connection-listener.ts";
import { actionCacheService } from "./grpc/action-cache-service.ts";
import { assetServices } from "./grpc/asset-services.ts";
import { byteStreamService } from "./grpc/byte-stream-service.ts";
import { capabilitiesService } from "./grpc/capabilities-service.ts";
import { contentAddressableStorageService } from "./grpc/content-addressable-storage-service.ts";
import { executionService } from "./grpc/execution-service.ts";
import { healthService } from "./grpc/health-service.ts";
import { protoOutputReferences } from "./grpc/output-references-reader.ts";
import { reflectionService } from "./grpc/reflection-service.ts";
import { ResumableUploads } from "./grpc/resumable-uploads.ts";
import { createGrpcJsTransport } from "./grpc/transport/grpc-js-transport.ts";
import type { BoundMethod, GrpcTransport } from "./grpc/transport/handler.ts";
import { createNativeTransport } from "./grpc/transport/native-transport.ts";
import { HttpServer } from "./http/http-server.ts";
import { statusRoutes } from "./http/status-routes.ts";
import { isLoopbackAddress } from "./loopback-address.ts";
import { createCallMetrics } from "./observability/call-metrics.ts";
import type { Logger } from "./observability/logger.ts";
import { type EngineFigures, Metrics } from "./observability/metrics.ts";
import { Readiness } from "./readiness.ts";
import { StorageEngine } from "./storage/storage-engine.ts";
import { readTlsIdentity, type TlsIdentity } from "./tls-identity.ts";
import { VERSION } from "./version.ts";

/** The storage engine as the server needs it. */
export interface Engine extends EntryStore, AsyncDisposable {
  stats(): EngineFigures;
  /** The largest entry that it takes. */
  readonly entryBytesMax: number;
  /** Why nothing can be written now; undefined where all is well. */
  readonly readOnlyReason: string | undefined;
}

export type OpenEngine = (config: Config, logger: Logger, clock: Clock) => Promise<Engine>;

export interface ServerDependencies {
  readonly logger: Logger;
  /** Default: the sharded store in `config.directory`. */
  readonly openEngine?: OpenEngine;
  readonly clock?: Clock;
}

/** Time for a client to show its protocol; shorter than the patience of a client, longer than a slow line needs. */
const PREFACE_TIMEOUT_MS = 10_000;
/** After the deadline of a drain: time for the last statuses to reach the clients whose calls were cut. */
const LAST_WORDS_MS = 2000;
const READ_ONLY_CHECK_INTERVAL_MS = 1000;
/** Descriptors for reading segments, where the process may have eight times as many. */
const OPEN_SEGMENTS_MAX = 256;

const TRANSPORTS = { native: createNativeTransport, "grpc-js": createGrpcJsTransport } as const;

export function startServer(config: Config, dependencies: ServerDependencies): Promise<KuraServer> {
  return KuraServer.start(config, dependencies);
}

/** A running server. Disposing of it closes it with the drain time of its configuration. */
export class KuraServer implements AsyncDisposable {
  readonly readiness = new Readiness();
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #metrics = new Metrics();
  readonly #http: HttpServer;
  readonly #listener: ConnectionListener;
  readonly #uploads: ResumableUploads;
  #engine: Engine | undefined;
  #origins: OriginFetches | undefined;
  #transport: GrpcTransport | undefined;
  #readOnlyCheck: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #endpoint = "";

  private constructor(config: Config, { logger, clock = systemClock }: ServerDependencies) {
    this.#config = config;
    this.#logger = logger;
    this.#clock = clock;
    this.#startedAtMs = clock.monotonicMs();
    // Interrupted uploads hold on to staging; a quarter of it is theirs at the most.
    this.#uploads = new ResumableUploads({ keptBytesMax: config.stagingDiskBytes / 4 });
    const { instruments } = this.#metrics;
    this.#http = new HttpServer({
      routes: [
        statusRoutes({ readiness: this.readiness, metrics: this.#metrics, describe: () => this.#describe() }),
        // Cache protocols of other build tools register here.
      ],
      metrics: this.#metrics,
      reportFault: this.#reportFault,
    });
    this.#listener = new ConnectionListener({
      connectionCountMax: config.connectionCountMax,
      prefaceTimeoutMs: PREFACE_TIMEOUT_MS,
      onRefused: () => instruments.connectionsRefused.inc(),
      tls: tlsIdentity(config),
      onHandshakeFailed: (error) => logger.debug({ error }, "a TLS handshake failed"),
      onConnection: {
        http1: (socket) => {
          instruments.connectionsAccepted.inc({ protocol: "http1" });
          this.#http.accept(socket);
        },
        http2: (socket) => {
          instruments.connectionsAccepted.inc({ protocol: "http2" });
          // While the engine opens there is nothing to call yet: the client sees UNAVAILABLE and comes again.
          if (this.#transport === undefined) socket.destroy();
          else this.#transport.accept(socket);
        },
      },
    });
  }

  /**
   * Binds the port first, so that a port in use is found before the data is touched and `/readyz` tells of a long
   * start; then opens the engine and serves.
   * @throws where the certificate, the port or the engine cannot be had; nothing is left open then.
   */
  static async start(config: Config, dependencies: ServerDependencies): Promise<KuraServer> {
    const server = new KuraServer(config, dependencies);
    const { openEngine = openShardedStore } = dependencies;
    try {
      await server.#listen();
      await server.#serve(await openEngine(config, server.#logger, server.#clock));
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
    const { host, port } = this.#config;
    const { address, port: boundPort } = await this.#listener.listen(host, port);
    this.#endpoint = `${isIPv6(address) ? `[${address}]` : address}:${boundPort}`;
    if (isLoopbackAddress(address)) return;
    this.#logger.warn(
      { endpoint: this.#endpoint },
      "ANYBODY WHO REACHES THIS ADDRESS CAN READ AND WRITE THE CACHE: it is not a loopback address and there is no authentication",
    );
  }

  async #serve(engine: Engine): Promise<void> {
    this.#engine = engine;
    const { messageBytesMax, durability, grpcTransport } = this.#config;
    const { streamWindowBytes, connectionWindowBytes, connectionAgeMsMax } = this.#config;
    const createTransport = TRANSPORTS[grpcTransport];
    this.#transport = createTransport(this.#bindServices(engine), {
      reportFault: this.#reportFault,
      observer: createCallMetrics(this.#metrics),
      messageBytesMax,
      streamWindowBytesMax: streamWindowBytes,
      connectionWindowBytesMax: connectionWindowBytes,
      connectionAgeMsMax: connectionAgeMsMax === 0 ? undefined : connectionAgeMsMax,
    });
    this.#metrics.instruments.info.set({ version: VERSION, durability }, 1);
    this.#metrics.onScrape(() => this.#collect(engine));
    const followEngine = (): void => {
      if (engine.readOnlyReason === undefined) this.readiness.serve();
      else this.readiness.serveReadsOnly(engine.readOnlyReason);
    };
    followEngine();
    this.#readOnlyCheck = setInterval(followEngine, READ_ONLY_CHECK_INTERVAL_MS).unref();
  }

  #bindServices(engine: Engine): BoundMethod[] {
    const { uploadIdleTimeoutMs } = this.#config;
    const blobBytesMax = this.#blobBytesMax(engine);
    const stored = new EmptyBlobStore(new EntryBlobStore(engine));
    // The completeness check looks behind the measured store: its look-ups are not the clients'.
    const complete = new CompleteActionCache(new EntryActionCache(engine), stored, protoOutputReferences);
    const blobs = new MeasuredBlobStore(stored, this.#metrics);
    const actions = new MeasuredActionCache(complete, this.#metrics);
    const methods = [
      ...capabilitiesService({ blobBytesMax }),
      ...contentAddressableStorageService({ blobs, reportFault: this.#reportFault }),
      ...actionCacheService({ actions, blobs }),
      ...byteStreamService({ blobs, uploads: this.#uploads, blobBytesMax, writeIdleMsMax: uploadIdleTimeoutMs }),
      ...assetServices({ assets: this.#assets(engine, stored) }),
      ...executionService(),
    ];
    const services = [...new Set(methods.map(({ definition }) => definition.path.split("/")[1] ?? ""))];
    return [
      ...methods,
      ...healthService({ readiness: this.readiness, services }),
      ...reflectionService({ services: [...services, "grpc.health.v1.Health"] }),
    ];
  }

  #assets(engine: Engine, blobs: BlobStore): Assets {
    const { assetOriginFetch, assetPrivateRanges, assetBytesMax, assetTimeoutMs } = this.#config;
    const clock = this.#clock;
    if (assetOriginFetch === "on") {
      this.#origins = new OriginFetches({
        entries: engine,
        blobs,
        guard: new AddressGuard(assetPrivateRanges),
        clock,
        bytesMax: Math.min(assetBytesMax === 0 ? Infinity : assetBytesMax, this.#blobBytesMax(engine)),
        timeoutMs: assetTimeoutMs,
      });
    }
    const store = new AssetStore(engine);
    return new Assets({ store, blobs, references: protoOutputReferences, clock, origins: this.#origins });
  }

  /** Largest blob that is taken, in bytes. */
  #blobBytesMax({ entryBytesMax }: Engine): number {
    const { blobBytesMax } = this.#config;
    return blobBytesMax === 0 ? entryBytesMax : Math.min(blobBytesMax, entryBytesMax);
  }

  async #close(deadlineMs: number): Promise<void> {
    this.readiness.drain();
    clearInterval(this.#readOnlyCheck);
    const listenerClosed = this.#listener.close(deadlineMs + LAST_WORDS_MS);
    this.#http.drain();
    await this.#transport?.drain(deadlineMs);
    await listenerClosed;
    await this.#uploads.dropKept();
    await this.#origins?.[Symbol.asyncDispose]();
    await this.#engine?.[Symbol.asyncDispose]();
  }

  readonly #reportFault = (reference: string, cause: unknown): void => {
    this.#logger.error({ reference, error: cause }, "internal fault");
  };

  #collect(engine: Engine): void {
    const { connections, ready, residentBytes } = this.#metrics.instruments;
    connections.set(this.#listener.connectionCount);
    ready.set(this.readiness.ready ? 1 : 0);
    residentBytes.set(process.memoryUsage.rss());
    this.#metrics.setEngineFigures(engine.stats());
  }

  #describe(): Record<string, unknown> {
    const { durability, directory, shardCount, maxBytes, messageBytesMax, connectionCountMax } = this.#config;
    const { stagingMemoryBytes, stagingDiskBytes, hotBlobBytesMax, minLeaseMs } = this.#config;
    return {
      version: VERSION,
      uptimeSeconds: Math.floor((this.#clock.monotonicMs() - this.#startedAtMs) / 1000),
      address: this.#endpoint,
      durability,
      directory,
      shardCount,
      limits: {
        maxBytes,
        blobBytesMax: this.#engine === undefined ? null : this.#blobBytesMax(this.#engine),
        stagingMemoryBytes,
        stagingDiskBytes,
        hotBlobBytesMax,
        minLeaseMs,
        messageBytesMax,
        connectionCountMax,
      },
      connections: this.#listener.connectionCount,
      callsInFlight: this.#transport?.callsInFlight ?? 0,
      engine: this.#engine?.stats() ?? null,
    };
  }
}

function tlsIdentity({ tlsCertPath, tlsKeyPath }: Config): TlsIdentity | undefined {
  if (tlsCertPath === undefined || tlsKeyPath === undefined) return undefined;
  return readTlsIdentity(tlsCertPath, tlsKeyPath);
}

function openShardedStore(config: Config, logger: Logger, clock: Clock): Promise<Engine> {
  const { directory, maxBytes, shardCount, durability, stagingMemoryBytes, stagingDiskBytes } = config;
  const { hotBlobBytesMax, minLeaseMs, segmentBytesMax, scrubBytesPerSecond, checkpointIntervalMs } = config;
  return StorageEngine.open({
    directory,
    maxBytes,
    shardCount,
    durability,
    stagingMemoryBytes,
    stagingDiskBytes,
    hotRecordBytesMax: hotBlobBytesMax,
    minLeaseMs,
    scrubBytesPerSecond,
    checkpointIntervalMs,
    openSegmentsMax: Math.floor(Math.min(OPEN_SEGMENTS_MAX, descriptorLimit() / 8)),
    ...(segmentBytesMax === undefined ? {} : { segmentBytesMax }),
    logger: logger.child({ part: "engine" }),
    clock,
  });
}
