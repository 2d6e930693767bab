import { randomBytes } from "node:crypto";

/** A request as the access log, traces and the log of faults see it, whatever protocol carries it. */
export interface ObservedRequest {
  /** What the client has sent as `x-request-id`, or made up: see {@link requestIdOf}. */
  readonly id: string;
  /** `grpc`, or the name of a cache protocol over HTTP, which is known when the request ends. */
  readonly protocol: string;
  /** `package.Service/Method`, or `GET`. */
  readonly method: string;
  /** Of an HTTP request, without its query, which may hold what is nobody else's business. */
  readonly path: string | undefined;
  /** `address:port` of the client. */
  readonly peer: string;
  /** Whose credentials were accepted, which is known when the request ends; undefined where none were shown. */
  readonly caller: string | undefined;
  /** What a build tool tells of itself. */
  readonly build: BuildIdentity | undefined;
  /** First value of a header, lower-case name. */
  header(name: string): string | undefined;
}

/** From the header `RequestMetadata` of the Remote Execution API; empty texts where nothing was told. */
export interface BuildIdentity {
  readonly invocation: string;
  readonly action: string;
  readonly mnemonic: string;
  readonly tool: string;
}

export interface RequestOutcome {
  /** Code of gRPC or HTTP. */
  readonly statusCode: number;
  /** `notFound`, or `404`. */
  readonly status: string;
  /** Whether the server is at fault, rather than the client or nobody. */
  readonly isServerFault: boolean;
  readonly durationMs: number;
}

/** Told of the beginning of each request. @returns what to call at its end; undefined where that is of no interest. */
export type RequestObserver = (request: ObservedRequest) => ((outcome: RequestOutcome) => void) | undefined;

/** One that tells all of them; undefined where there are none, so that requests cost nothing then. */
export function allObservers(observers: readonly RequestObserver[]): RequestObserver | undefined {
  if (observers.length <= 1) return observers[0];
  return (request) => {
    const ends = observers.map((observe) => observe(request)).filter((end) => end !== undefined);
    return ends.length === 0 ? undefined : (outcome) => ends.forEach((end) => end(outcome));
  };
}

const REQUEST_ID = /^[\w.:/+=-]{1,64}$/;
const ids = new WeakMap<object, string>();

/**
 * The id of a request, the same however often it is asked for.
 * @param request what stands for it, as long as it lasts. @param given by the client; what is too long or could break
 * a line of a log is not taken.
 */
export function requestIdOf(request: object, given: string | undefined): string {
  const known = ids.get(request);
  if (known !== undefined) return known;
  const id = given !== undefined && REQUEST_ID.test(given) ? given : randomBytes(8).toString("hex");
  ids.set(request, id);
  return id;
}
