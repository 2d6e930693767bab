import type { ActionCache } from "../cache/action-cache.ts";
import type { BlobStore } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import { type Digest, digestToString } from "../cache/digest.ts";
import { checkActionResult } from "./action-result-check.ts";
import { inlineOutputs } from "./action-result-inlining.ts";
import type { ActionResult, GetActionResultRequest, UpdateActionResultRequest } from "./messages.ts";
import { actionResultCodec } from "./proto-definitions.ts";
import { bindService } from "./proto-services.ts";
import { requestDigest, requestDigestFunction } from "./request-digest.ts";
import { checkInstanceName } from "./resource-name.ts";
import type { BoundMethod, CallContext } from "./transport/handler.ts";

export interface ActionCacheServiceOptions {
  /** Answers complete entries only (I8). */
  readonly actions: ActionCache;
  readonly blobs: BlobStore;
  /** Whether this caller may write; what is announced as `update_enabled`. Default: every caller. */
  readonly mayUpdate?: (call: CallContext) => boolean;
  /** Bytes inlined into one answer. Default 3 MiB: clients limit a message to 4 MiB. */
  readonly inlineBytesMax?: number;
}

export function actionCacheService(options: ActionCacheServiceOptions): BoundMethod[] {
  const service = new ActionCacheService(options);
  return bindService("build.bazel.remote.execution.v2.ActionCache", {
    GetActionResult: (request) => service.getActionResult(request),
    UpdateActionResult: (request, call) => service.updateActionResult(request, call),
  });
}

/** `ActionCache` (BEHAVIOUR 5). */
export class ActionCacheService {
  readonly #actions: ActionCache;
  readonly #blobs: BlobStore;
  readonly #mayUpdate: (call: CallContext) => boolean;
  readonly #inlineBytesMax: number;

  constructor(options: ActionCacheServiceOptions) {
    this.#actions = options.actions;
    this.#blobs = options.blobs;
    this.#mayUpdate = options.mayUpdate ?? (() => true);
    this.#inlineBytesMax = options.inlineBytesMax ?? 3 * 1024 * 1024;
  }

  async getActionResult(request: GetActionResultRequest): Promise<ActionResult> {
    const { instanceName, action } = actionOf(request);
    const stored = await this.#actions.get(instanceName, action);
    const result = stored && decodeStored(stored);
    if (result === undefined) {
      throw new CacheError("not_found", `no complete action result for ${digestToString(action)} is in the cache`);
    }
    await inlineOutputs(result, request, action.fn, this.#blobs, this.#inlineBytesMax);
    return result;
  }

  async updateActionResult(request: UpdateActionResultRequest, call: CallContext): Promise<ActionResult> {
    if (!this.#mayUpdate(call)) {
      throw new CacheError("permission_denied", "this caller may not update the action cache");
    }
    const { instanceName, action } = actionOf(request);
    const result = request.action_result;
    if (result === null) throw new CacheError("invalid_argument", "action_result: expected one, got none");
    checkActionResult(result, action.fn);
    await this.#actions.put(instanceName, action, actionResultCodec.encode(result));
    return result;
  }
}

function actionOf(request: GetActionResultRequest | UpdateActionResultRequest): {
  instanceName: string;
  action: Digest;
} {
  const instanceName = checkInstanceName(request.instance_name);
  const fn = requestDigestFunction(request.digest_function);
  return { instanceName, action: requestDigest("action_digest", request.action_digest, fn) };
}

/** A value that is no action result, as plain HTTP clients may store it, is a miss here. */
function decodeStored(bytes: Uint8Array): ActionResult | undefined {
  try {
    return actionResultCodec.decode(bytes);
  } catch {
    return undefined;
  }
}
