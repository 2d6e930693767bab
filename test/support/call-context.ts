import { ANYBODY, type Caller } from "../../src/auth/caller.ts";
import type { MemoryBudget } from "../../src/cache/memory-budget.ts";
import type { CallContext } from "../../src/grpc/transport/handler.ts";

export interface CallContextOptions {
  readonly path?: string;
  /** By lower-case name. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly binaryHeaders?: Readonly<Record<string, Uint8Array>>;
  readonly caller?: Caller;
  readonly signal?: AbortSignal;
  /** Default: there is always enough. */
  readonly memory?: MemoryBudget;
}

/** A call as a handler sees it, without a transport. */
export function callContext(options: CallContextOptions = {}): CallContext {
  return {
    path: options.path ?? "/test.Service/Method",
    peer: "127.0.0.1:1",
    header: (name) => options.headers?.[name],
    binaryHeader: (name) => options.binaryHeaders?.[name],
    caller: options.caller ?? ANYBODY,
    signal: options.signal ?? new AbortController().signal,
    holdMemory: (bytes) => options.memory?.takeInTime(bytes),
  };
}
