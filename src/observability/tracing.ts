import type { Logger } from "./logger.ts";
import type { ObservedRequest, RequestObserver } from "./request-observer.ts";

export interface TracingOptions {
  /** Where spans are posted to, the path included. */
  readonly url: string;
  /** Share of the traces that begin here, from 0 to 1; a request that belongs to a trace goes by what that has decided. */
  readonly sampleRate: number;
  readonly version: string;
  readonly logger: Logger;
}

export interface Tracing extends AsyncDisposable {
  readonly observe: RequestObserver;
}

/** When the server closes: a collector that is away is not waited for as long as the exporter would try. */
const LAST_SPANS_MS_MAX = 2000;

/**
 * A span for each request, sent over OTLP/HTTP. A `traceparent` of the client is taken up (W3C Trace Context). The SDK
 * is loaded only here: without it a start is quicker and the process smaller. What it looks up in `OTEL_…` itself
 * (headers, timeouts, batches, resource attributes) holds too.
 */
export async function startTracing({ url, sampleRate, version, logger }: TracingOptions): Promise<Tracing> {
  const [api, { W3CTraceContextPropagator }, { OTLPTraceExporter }, resources, sdk] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/core"),
    import("@opentelemetry/exporter-trace-otlp-http"),
    import("@opentelemetry/resources"),
    import("@opentelemetry/sdk-trace"),
  ]);
  const { diag, DiagLogLevel, ROOT_CONTEXT, SpanKind, SpanStatusCode } = api;
  // A collector that is away is told of by the exporter, and is nothing that a request should fail for.
  const warn = (message: string, ...details: unknown[]): void => logger.warn({ details }, message);
  const silent = (): void => {};
  diag.setLogger({ error: warn, warn, info: silent, debug: silent, verbose: silent }, DiagLogLevel.WARN);
  const provider = new sdk.TracerProvider({
    resource: resources
      .resourceFromAttributes({ "service.name": "kura", "service.version": version })
      .merge(resources.detectResources({ detectors: [resources.envDetector] })),
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(sampleRate) }),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url }) })],
  });
  const tracer = provider.getTracer("kura", version);
  const propagator = new W3CTraceContextPropagator();
  const getter = {
    get: (request: ObservedRequest, name: string) => request.header(name),
    keys: () => [],
  };
  return {
    observe: (request) => {
      const parent = propagator.extract(ROOT_CONTEXT, request, getter);
      const span = tracer.startSpan(request.method, { kind: SpanKind.SERVER }, parent);
      if (!span.isRecording()) {
        span.end();
        return undefined;
      }
      return ({ statusCode, isServerFault }) => {
        span.setAttributes(attributesOf(request, statusCode));
        if (request.protocol !== "grpc") span.updateName(`${request.method} ${request.protocol}`);
        if (isServerFault) span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
      };
    },
    [Symbol.asyncDispose]: async () => {
      const shutDown = provider.shutdown().catch((error: unknown) => logger.warn({ error }, "traces were not sent"));
      await withinMs(LAST_SPANS_MS_MAX, shutDown);
    },
  };
}

/** Waits for `work`, but no longer than this. */
async function withinMs(timeoutMs: number, work: Promise<unknown>): Promise<void> {
  const { promise: timeout, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}

/** By OpenTelemetry's conventions for servers, where they have a name. */
function attributesOf(request: ObservedRequest, statusCode: number): Record<string, string | number> {
  const { id, protocol, method, path = "", peer, caller, build } = request;
  const ofCaller: Record<string, string> = caller === undefined ? {} : { "enduser.id": caller };
  const common = { "client.address": peer, "kura.request_id": id, "kura.protocol": protocol, ...ofCaller };
  const ofBuild: Record<string, string> =
    build === undefined ? {} : { "kura.build.invocation": build.invocation, "kura.build.action": build.action };
  if (protocol !== "grpc") {
    const http = { "http.request.method": method, "http.response.status_code": statusCode, "url.path": path };
    return { ...common, ...http, ...ofBuild };
  }
  const [service = "", name = ""] = method.split("/");
  const rpc = { "rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "rpc.grpc.status_code": statusCode };
  return { ...common, ...rpc, ...ofBuild };
}
