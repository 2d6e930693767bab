import { AddressPlaces } from "../address-places.ts";
import { AssetStore } from "../asset/asset-store.ts";
import { Assets } from "../asset/assets.ts";
import { AddressGuard } from "../asset/origin/address-guard.ts";
import { OriginFetches } from "../asset/origin/origin-fetches.ts";
import { RequestRates } from "../auth/request-rates.ts";
import type { BlobStore } from "../cache/blob-store.ts";
import { BlobsByHash } from "../cache/blobs-by-hash.ts";
import { CHUNKINGS } from "../cache/chunking/chunking.ts";
import { ACTION_CACHE_SPACE, VALUE_SPACES, type ValueProtocol } from "../cache/entry-key.ts";
import type { OwnerRegister } from "../cache/entry-owner.ts";
import type { EntryStore } from "../cache/entry-store.ts";
import { EntryValueStore } from "../cache/entry-value-store.ts";
import { MeasuredActionCache } from "../cache/measured-action-cache.ts";
import { MeasuredBlobStore } from "../cache/measured-blob-store.ts";
import { MeasuredValueStore } from "../cache/measured-value-store.ts";
import type { ValueStore } from "../cache/value-store.ts";
import { MemoryBudget } from "../cache/memory-budget.ts";
import { Places } from "../cache/places.ts";
import type { Clock } from "../clock.ts";
import { type Config, keepsAccounts } from "../config.ts";
import { ConnectionListener, type ListenAddress } from "../connection-listener.ts";
import { authorizedMethods, callAdmission } from "../grpc/authorized-methods.ts";
import { actionCacheService } from "../grpc/action-cache-service.ts";
import { assetServices } from "../grpc/asset-services.ts";
import { type ByteStreamOptions, ByteStreamService, byteStreamService } from "../grpc/byte-stream-service.ts";
import { capabilitiesService } from "../grpc/capabilities-service.ts";
import { contentAddressableStorageService } from "../grpc/content-addressable-storage-service.ts";
import { methodsByPath, routeToInstances } from "../grpc/instance-methods.ts";
import { countLookupsByClient } from "../grpc/counted-lookups.ts";
import { executionService } from "../grpc/execution-service.ts";
import type { FaultReporter } from "../grpc/grpc-status.ts";
import { healthService } from "../grpc/health-service.ts";
import { ObservedCall, watchCalls } from "../grpc/observed-call.ts";
import { limitedAdmission } from "../grpc/limited-admission.ts";
import { protoOutputReferences } from "../grpc/output-references-reader.ts";
import { protoActionResultFormat } from "../grpc/proto-action-result-format.ts";
import { reflectionService } from "../grpc/reflection-service.ts";
import { ResumableUploads, type UploadPeers } from "../grpc/resumable-uploads.ts";
import { createGrpcJsTransport } from "../grpc/transport/grpc-js-transport.ts";
import type { BoundMethod, GrpcTransport } from "../grpc/transport/handler.ts";
import { type CallAdmission, TRANSPORT_DEFAULTS } from "../grpc/transport/transport-options.ts";
import { createNativeTransport } from "../grpc/transport/native-transport.ts";
import { OutputBudget } from "../http2/output-budget.ts";
import { requestTurns, sendTurns } from "../http2/loop-turns.ts";
import type { HttpProtocols } from "../http/http-router.ts";
import { HttpServer } from "../http/http-server.ts";
import { BazelProtocol, bazelRoutes } from "../http/protocols/bazel.ts";
import { ccacheRoutes } from "../http/protocols/ccache.ts";
import { gradleRoutes } from "../http/protocols/gradle.ts";
import { metroRoutes } from "../http/protocols/metro.ts";
import { nxRoutes } from "../http/protocols/nx.ts";
import { sccacheRoutes } from "../http/protocols/sccache.ts";
import { turborepoRoutes } from "../http/protocols/turborepo.ts";
import { xcodeRoutes } from "../http/protocols/xcode.ts";
import { RequestBodies } from "../http/request-body.ts";
import { type ProcessView, statusRoutes } from "../http/status-routes.ts";
import { ClientMetrics } from "../observability/client-metrics.ts";
import { createCallMetrics } from "../observability/call-metrics.ts";
import type { Logger } from "../observability/logger.ts";
import { Metrics } from "../observability/metrics.ts";
import type { ObservedRequest, RequestObserver } from "../observability/request-observer.ts";
import type { Readiness } from "../readiness.ts";
import { ScannerPool } from "../scanning/scanner-pool.ts";
import { turnEnd } from "../turn-end.ts";
import { AccessControl } from "./access-control.ts";
import type { ConnectionSlots } from "./connection-slots.ts";
import { type InstanceCache, InstanceCaches } from "./instance-caches.ts";
import type { ListenerFiles } from "./listener-files.ts";

/** The store as a listener needs it. */
export interface ListenerEntryStore extends EntryStore, OwnerRegister {
  /** The largest entry that it takes. */
  readonly entryBytesMax: number;
}

export interface ListenerOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly readiness: Readiness;
  readonly files: ListenerFiles;
  /** What `/status` and `/metrics` tell of the process as a whole. */
  readonly process: ProcessView;
  /** Given where several listeners share one bound. */
  readonly connectionSlots?: ConnectionSlots;
  /** See {@link RequestRates}; given where another listener has made it. */
  readonly requestRates?: SharedArrayBuffer | undefined;
  readonly uploadPeers?: UploadPeers;
  /** Told of every request. */
  readonly observe?: RequestObserver | undefined;
}

/** Time for a client to show its protocol; shorter than the patience of a client, longer than a slow line needs. */
const PREFACE_TIMEOUT_MS = 10_000;
/** After the deadline of a drain: time for the last statuses to reach the clients whose calls were cut. */
const LAST_WORDS_MS = 2000;
/** What waits for the clients of all listeners. The system's own buffers, of megabytes a connection, are not in it. */
const OUTPUT_BYTES_MAX = 8 * 1024 * 1024;
/** Of `--memory-budget`; what is left is staging memory and hot records by default. */
const WINDOW_SHARE = 1 / 2;
const REQUEST_SHARE = 1 / 4;
/** What a stream and a connection may be sent at once, of it: many uploads that wait then hold little. */
const STREAM_WINDOW_SHARE = 1 / 4096;
const CONNECTION_WINDOW_SHARE = 1 / 1024;
/** HTTP/2 begins with so much. */
const WINDOW_BYTES_MIN = 64 * 1024;
/** Of it there has to be so much for each upload that is being received: further ones are told to come again. */
const BYTES_OF_UPLOAD = 256 * 1024;
/** Interrupted uploads that are kept, in all listeners. */
const KEPT_UPLOADS_MAX = 256;

const TRANSPORTS = { native: createNativeTransport, "grpc-js": createGrpcJsTransport } as const;

/** Everything between the sockets of one thread and the store: connections, protocols, services, their metrics. */
export class Listener {
  readonly metrics = new Metrics();
  readonly uploads: ResumableUploads;
  /** Undefined where callers may call as often as they like. */
  readonly rates: RequestRates | undefined;
  readonly #clients = new ClientMetrics(this.metrics);
  readonly #options: ListenerOptions;
  readonly #memory: MemoryBudget;
  readonly #uploadPlaces: Places;
  readonly #access: AccessControl;
  readonly #http: HttpServer;
  readonly #connections: ConnectionListener;
  readonly #output: OutputBudget;
  readonly #sendTurns = sendTurns({ atEnd: turnEnd.last });
  readonly #requestTurns = requestTurns({ atEnd: turnEnd.last });
  readonly #scanner = new ScannerPool();
  #origins: OriginFetches | undefined;
  #transport: GrpcTransport | undefined;

  /** @throws where a file says nothing sound. */
  constructor(options: ListenerOptions) {
    const { config, logger, clock, readiness, files, connectionSlots, uploadPeers } = options;
    this.#options = options;
    this.uploads = new ResumableUploads({
      keptMax: Math.ceil(KEPT_UPLOADS_MAX / config.listenerCount),
      // Interrupted uploads hold on to staging; a quarter of it is theirs at the most.
      keptBytesMax: config.stagingDiskBytes / 4 / config.listenerCount,
      ...(uploadPeers === undefined ? {} : { peers: uploadPeers }),
    });
    this.#output = new OutputBudget(OUTPUT_BYTES_MAX / config.listenerCount);
    const requestBytesMax = (config.memoryBudgetBytes * REQUEST_SHARE) / config.listenerCount;
    // The largest message finds room where nobody else needs any, however little there is for all.
    this.#memory = new MemoryBudget(Math.max(Math.floor(requestBytesMax), config.messageBytesMax));
    const uploadCountMax = Math.ceil(config.memoryBudgetBytes / BYTES_OF_UPLOAD / config.listenerCount);
    this.#uploadPlaces = new Places("uploads", uploadCountMax, 0);
    const { instruments } = this.metrics;
    this.metrics.onScrape(() => {
      instruments.connections.set(this.connectionCount);
      instruments.requestMemoryBytes.set(this.#memory.usedBytes);
      instruments.requestMemoryWaiters.set(this.#memory.waiterCount);
    });
    this.#access = new AccessControl({
      config,
      files: files.credentials,
      clock,
      onRefused: (kind) => instruments.authFailures.inc({ kind }),
    });
    const { requestRate, requestBurst } = config;
    if (requestRate > 0) {
      this.rates = new RequestRates({ requestRate, requestBurst, clock, buffer: options.requestRates });
    }
    this.#http = new HttpServer({
      protocols: { status: statusRoutes({ readiness, process: options.process, statusRole: config.statusRole }) },
      metrics: this.metrics,
      reportFault: this.#reportFault,
      authorizer: this.#access.authorizer,
      rates: this.rates,
      observe: options.observe,
      outputBudget: this.#output,
      turns: this.#sendTurns,
      limits: { sendStallTimeoutMs: config.downloadIdleTimeoutMs },
    });
    this.#connections = new ConnectionListener({
      connectionCountMax: config.connectionCountMax,
      slots: connectionSlots,
      addressPlaces:
        config.addressConnectionCountMax === 0 ? undefined : new AddressPlaces(config.addressConnectionCountMax),
      turns: this.#requestTurns,
      prefaceTimeoutMs: PREFACE_TIMEOUT_MS,
      onRefused: () => instruments.connectionsRefused.inc(),
      tls: files.tls,
      clientCertificateIsRequired: config.tlsClientAuth === "required",
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

  get connectionCount(): number {
    return this.#connections.connectionCount;
  }

  get callsInFlight(): number {
    return this.#transport?.callsInFlight ?? 0;
  }

  /** Goes on with files that have changed. @throws where one says nothing sound; everything stays as it is then. */
  useFiles({ tls, credentials }: ListenerFiles): void {
    this.#access.use(credentials);
    if (tls !== undefined) this.#connections.useTls(tls);
  }

  /** @throws the system's error, such as EADDRINUSE. */
  listen(port: number): Promise<ListenAddress> {
    const { host, listenerCount } = this.#options.config;
    return this.#connections.listen(host, port, listenerCount > 1);
  }

  /** Takes connections from a socket that listens already. */
  listenOn(descriptor: number): Promise<ListenAddress> {
    return this.#connections.listenOn(descriptor);
  }

  /** From now on gRPC and the cache protocols over HTTP are served. @returns the blobs, as clients without an instance name see them. */
  serve(store: ListenerEntryStore): BlobStore {
    const { messageBytesMax, grpcTransport, streamWindowBytes, connectionWindowBytes } = this.#options.config;
    const { memoryBudgetBytes, listenerCount } = this.#options.config;
    const { connectionAgeMsMax, downloadIdleTimeoutMs, casScope, hotBlobBytesMax } = this.#options.config;
    const createTransport = TRANSPORTS[grpcTransport];
    const caches = new InstanceCaches({
      entries: store,
      scope: casScope,
      owners: keepsAccounts(this.#options.config) ? store : undefined,
      scanner: this.#scanner,
      references: protoOutputReferences,
      rememberedBytesMax: hotBlobBytesMax / listenerCount,
    });
    const { authorizer } = this.#access;
    const methods = this.#bindServices(store, caches);
    this.#transport = createTransport(authorizer === undefined ? methods : authorizedMethods(methods, authorizer), {
      admission: this.#callAdmission(),
      reportFault: this.#reportCallFault,
      observer: { ...createCallMetrics(this.metrics), watch: watchCalls(this.#options.observe) },
      messageBytesMax,
      streamWindowBytes: firstWindow(memoryBudgetBytes * STREAM_WINDOW_SHARE, TRANSPORT_DEFAULTS.streamWindowBytes),
      streamWindowBytesMax: streamWindowBytes,
      connectionWindowBytes: firstWindow(
        memoryBudgetBytes * CONNECTION_WINDOW_SHARE,
        TRANSPORT_DEFAULTS.connectionWindowBytes,
      ),
      connectionWindowBytesMax: connectionWindowBytes,
      windowGrowthBytesMax: Math.floor((memoryBudgetBytes * WINDOW_SHARE) / listenerCount),
      memory: this.#memory,
      connectionAgeMsMax: connectionAgeMsMax === 0 ? undefined : connectionAgeMsMax,
      sendStallTimeoutMs: downloadIdleTimeoutMs,
      outputBudget: this.#output,
      sendTurns: this.#sendTurns,
      requestTurns: this.#requestTurns,
    });
    this.#http.serve(this.#protocols(store, caches));
    return caches.of("").blobs;
  }

  /** No new connections, GOAWAY; what is in flight finishes, or gets UNAVAILABLE after `deadlineMs`. */
  async drain(deadlineMs: number): Promise<void> {
    const connectionsClosed = this.#connections.close(deadlineMs + LAST_WORDS_MS);
    this.#http.drain();
    await this.#transport?.drain(deadlineMs);
    await connectionsClosed;
    await this.uploads.leaveKept();
    await this.#origins?.[Symbol.asyncDispose]();
    await this.#scanner[Symbol.asyncDispose]();
    await this.#access[Symbol.asyncDispose]();
  }

  #callAdmission(): CallAdmission {
    const { authorizer } = this.#access;
    const admission = authorizer === undefined ? TRANSPORT_DEFAULTS.admission : callAdmission(authorizer);
    if (this.rates === undefined) return admission;
    return limitedAdmission(admission, this.rates, (reason) => this.metrics.countShed("grpc", reason));
  }

  /** Cache protocols of build tools over HTTP, by the names that their metrics have. */
  #protocols(store: ListenerEntryStore, caches: InstanceCaches): HttpProtocols {
    const { config } = this.#options;
    const bodies = new RequestBodies({
      bytesMax: largestBlobBytes(config, store),
      idleMsMax: config.uploadIdleTimeoutMs,
      memory: this.#memory,
    });
    const values = (protocol: ValueProtocol): ValueStore =>
      new MeasuredValueStore(
        // A protocol without instances is one itself.
        new EntryValueStore(caches.accountFor(store, protocol), VALUE_SPACES[protocol]),
        this.metrics,
        protocol,
      );
    const bazelProtocol = ({ entries, recipes, blobs, actions }: InstanceCache): BazelProtocol =>
      new BazelProtocol({
        bodies,
        blobs: new MeasuredBlobStore(blobs, this.metrics),
        blobsByHash: new BlobsByHash(entries, recipes),
        actions,
        actionValues: new EntryValueStore(entries, ACTION_CACHE_SPACE),
        format: protoActionResultFormat,
        meter: this.metrics,
        actionResultBytesMax: config.messageBytesMax,
        validatesActions: config.actionValidation === "on",
      });
    return {
      bazel: bazelRoutes(caches.each(bazelProtocol)),
      gradle: gradleRoutes({ values, bodies }),
      nx: nxRoutes({ values, bodies }),
      ccache: ccacheRoutes({ values, bodies }),
      turborepo: turborepoRoutes({ values, bodies }),
      sccache: sccacheRoutes({ values, bodies }),
      metro: metroRoutes({ values, bodies }),
      xcode: xcodeRoutes({ values, bodies }),
    };
  }

  #bindServices(store: ListenerEntryStore, caches: InstanceCaches): BoundMethod[] {
    const { config, readiness } = this.#options;
    const blobBytesMax = largestBlobBytes(config, store);
    this.#origins = this.#originFetches(store, blobBytesMax);
    const methodsOf = caches.each((cache) => methodsByPath(this.#instanceMethods(cache, blobBytesMax)));
    const ofAny = [...methodsOf("").values()];
    const byteStreamOf = caches.each((cache) => new ByteStreamService(this.#byteStreamOptions(cache, blobBytesMax)));
    const methods = [
      ...capabilitiesService({ blobBytesMax, chunkings: CHUNKINGS }),
      ...(caches.areShared ? ofAny : routeToInstances(ofAny, methodsOf)),
      ...byteStreamService({ ...this.#byteStreamOptions(caches.of(""), blobBytesMax), ofInstance: byteStreamOf }),
      ...executionService(),
    ];
    const services = [...new Set(methods.map(({ definition }) => definition.path.split("/")[1] ?? ""))];
    return [
      ...countLookupsByClient(methods, this.#clients),
      ...healthService({ readiness, services }),
      ...reflectionService({ services: [...services, "grpc.health.v1.Health"] }),
    ];
  }

  /** What names its instance in each request. */
  #instanceMethods(cache: InstanceCache, blobBytesMax: number): BoundMethod[] {
    const { chunker } = cache;
    // The completeness check looks behind the measured store: its look-ups are not the clients'.
    const blobs = new MeasuredBlobStore(cache.blobs, this.metrics);
    const actions = new MeasuredActionCache(cache.actions, this.metrics);
    return [
      ...contentAddressableStorageService({
        blobs,
        reportFault: this.#reportCallFault,
        chunking: { chunker, blobBytesMax },
      }),
      ...actionCacheService({ actions, blobs }),
      ...assetServices({ assets: this.#assets(cache) }),
    ];
  }

  #byteStreamOptions({ blobs }: InstanceCache, blobBytesMax: number): ByteStreamOptions {
    const { uploads, metrics } = this;
    const { uploadIdleTimeoutMs: writeIdleMsMax } = this.#options.config;
    const places = this.#uploadPlaces;
    return { blobs: new MeasuredBlobStore(blobs, metrics), uploads, places, blobBytesMax, writeIdleMsMax };
  }

  #assets({ entries, blobs }: InstanceCache): Assets {
    const { clock } = this.#options;
    const store = new AssetStore(entries);
    return new Assets({ store, blobs, references: protoOutputReferences, clock, origins: this.#origins });
  }

  /** Undefined where nothing is fetched. */
  #originFetches(entries: ListenerEntryStore, blobBytesMax: number): OriginFetches | undefined {
    const { config, clock } = this.#options;
    const { assetOriginFetch, assetPrivateRanges, assetBytesMax, assetTimeoutMs } = config;
    if (assetOriginFetch === "off") return undefined;
    return new OriginFetches({
      entries,
      guard: new AddressGuard(assetPrivateRanges),
      clock,
      bytesMax: Math.min(assetBytesMax === 0 ? Infinity : assetBytesMax, blobBytesMax),
      timeoutMs: assetTimeoutMs,
    });
  }

  readonly #reportFault = (reference: string, cause: unknown, request?: ObservedRequest): void => {
    const { id, method, peer } = request ?? {};
    this.#options.logger.error({ reference, requestId: id, method, peer, error: cause }, "internal fault");
  };

  readonly #reportCallFault: FaultReporter = (reference, cause, call) => {
    this.#reportFault(reference, cause, call === undefined ? undefined : new ObservedCall(call));
  };
}

/** Largest blob that is taken, in bytes. */
export function largestBlobBytes({ blobBytesMax }: Config, { entryBytesMax }: ListenerEntryStore): number {
  return blobBytesMax === 0 ? entryBytesMax : Math.min(blobBytesMax, entryBytesMax);
}

function firstWindow(bytes: number, bytesMax: number): number {
  return Math.min(bytesMax, Math.max(WINDOW_BYTES_MIN, Math.floor(bytes)));
}
