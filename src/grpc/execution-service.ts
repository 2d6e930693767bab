import { CacheError } from "../cache/cache-error.ts";
import { bindService } from "./proto-services.ts";
import type { BoundMethod, CallContext } from "./transport/handler.ts";

/** Every rpc of `Execution` answers UNIMPLEMENTED with a sentence that says why (BEHAVIOUR 6). */
export function executionService(): BoundMethod[] {
  return bindService("build.bazel.remote.execution.v2.Execution", {
    Execute: refuse,
    WaitExecution: refuse,
  });
}

function refuse(_request: unknown, call: CallContext): AsyncIterable<never> {
  throw new CacheError("unimplemented", `${call.path}: this server is a cache and executes no actions`);
}
