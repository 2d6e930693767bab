import type { Config } from "../config.ts";
import { VERSION } from "../version.ts";
import { createAccessLog } from "./access-log.ts";
import { createLogger, type Logger } from "./logger.ts";
import { allObservers, type RequestObserver } from "./request-observer.ts";
import { startTracing, type Tracing } from "./tracing.ts";

/** Those that the configuration asks for, in one thread. */
export class RequestObservers implements AsyncDisposable {
  /** Undefined where nobody observes. */
  readonly observe: RequestObserver | undefined;
  readonly #tracing: Tracing | undefined;

  private constructor(observe: RequestObserver | undefined, tracing: Tracing | undefined) {
    this.observe = observe;
    this.#tracing = tracing;
  }

  /** No promise where nothing has to be loaded: the port is bound at once then. */
  static open(
    { accessLogRate, otlpUrl, traceSampleRate }: Pick<Config, "accessLogRate" | "otlpUrl" | "traceSampleRate">,
    logger: Logger,
    // Whatever else is logged, and how: programs read it.
    accessLogger: Logger = createLogger({ level: "info", format: "json" }),
  ): Promise<RequestObservers> | RequestObservers {
    const accessLog =
      accessLogRate === 0 ? [] : [createAccessLog(accessLogRate, accessLogger.child({ part: "access" }))];
    if (otlpUrl === undefined) return new RequestObservers(allObservers(accessLog), undefined);
    const options = { url: otlpUrl, sampleRate: traceSampleRate, version: VERSION };
    return startTracing({ ...options, logger: logger.child({ part: "tracing" }) }).then(
      (tracing) => new RequestObservers(allObservers([...accessLog, tracing.observe]), tracing),
    );
  }

  /** Sends what is still to be sent, for as long as the exporter takes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tracing?.[Symbol.asyncDispose]();
  }
}
