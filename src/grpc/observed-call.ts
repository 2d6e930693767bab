import type { BuildIdentity, ObservedRequest, RequestObserver } from "../observability/request-observer.ts";
import { requestIdOf } from "../observability/request-observer.ts";
import { grpcStatusName, isServerFault } from "./grpc-status.ts";
import { requestMetadataCodec } from "./proto-definitions.ts";
import type { CallContext } from "./transport/handler.ts";
import type { CallObserver } from "./transport/transport-options.ts";

const METADATA_HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin";

/** A gRPC call as logs and traces see it. */
export class ObservedCall implements ObservedRequest {
  readonly protocol = "grpc";
  readonly path = undefined;
  readonly #call: CallContext;

  constructor(call: CallContext) {
    this.#call = call;
  }

  get id(): string {
    return requestIdOf(this.#call, this.#call.header("x-request-id"));
  }

  get method(): string {
    return this.#call.path.slice(1);
  }

  get peer(): string {
    return this.#call.peer;
  }

  get caller(): string | undefined {
    return this.#call.caller.name;
  }

  get build(): BuildIdentity | undefined {
    const bytes = this.#call.binaryHeader(METADATA_HEADER);
    if (bytes === undefined) return undefined;
    try {
      const { tool_details, ...metadata } = requestMetadataCodec.decode(Buffer.from(bytes));
      const tool = tool_details === null ? "" : `${tool_details.tool_name} ${tool_details.tool_version}`;
      const { tool_invocation_id: invocation, action_id: action, action_mnemonic: mnemonic } = metadata;
      return { invocation, action, mnemonic, tool };
    } catch {
      // It is not needed to answer the call: what cannot be read is left out.
      return undefined;
    }
  }

  header(name: string): string | undefined {
    return this.#call.header(name);
  }
}

/** Tells an observer of calls; undefined where there is none. */
export function watchCalls(observe: RequestObserver | undefined): CallObserver["watch"] {
  if (observe === undefined) return undefined;
  return (call) => {
    const ended = observe(new ObservedCall(call));
    if (ended === undefined) return undefined;
    return (statusCode, durationMs) =>
      ended({ statusCode, status: grpcStatusName(statusCode), isServerFault: isServerFault(statusCode), durationMs });
  };
}
