import type { ActionCache } from "../cache/action-cache.ts";
import type { BlobStore } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import { type Digest, digestToString } from "../cache/digest.ts";
import { checkInstanceName } from "../cache/instance-name.ts";
import { checkActionResult } from "./action-result-check.ts";
import { inlineOutputs } from "./action-result-inlining.ts";
import type { ActionResult, GetActionResultRequest, UpdateActionResultRequest } from "./messages.ts";
import { hasContents } from "./proto-action-cache-codec.ts";
import { actionResultCodec, asBuffer } from "./proto-definitions.ts";
import { bindService, EncodedMessage } from "./proto-services.ts";
import { requestDigest, requestDigestFunction } from "./request-digest.ts";
import type { BoundMethod } from "./transport/handler.ts";

export interface ActionCacheServiceOptions {
  /** Answers complete entries only (I8). */
  readonly actions: ActionCache;
  readonly blobs: BlobStore;
  /** Bytes inlined into one answer. Default 3 MiB: clients limit a message to 4 MiB. */
  readonly inlineBytesMax?: number;
}

export function actionCacheService(options: ActionCacheServiceOptions): BoundMethod[] {
  const service = new ActionCacheService(options);
  return bindService("build.bazel.remote.execution.v2.ActionCache", {
    GetActionResult: (request) => service.getActionResult(request),
    UpdateActionResult: (request) => service.updateActionResult(request),
  });
}

/** `ActionCache` (BEHAVIOUR 5). */
export class ActionCacheService {
  readonly #actions: ActionCache;
  readonly #blobs: BlobStore;
  readonly #inlineBytesMax: number;

  constructor(options: ActionCacheServiceOptions) {
    this.#actions = options.actions;
    this.#blobs = options.blobs;
    this.#inlineBytesMax = options.inlineBytesMax ?? 3 * 1024 * 1024;
  }

  getActionResult(request: GetActionResultRequest): Promise<EncodedMessage> | EncodedMessage {
    const { instanceName, action } = actionOf(request);
    const getting = this.#actions.get(instanceName, action);
    return getting instanceof Promise
      ? getting.then((stored) => this.#answer(request, action, stored))
      : this.#answer(request, action, getting);
  }

  async updateActionResult(request: UpdateActionResultRequest): Promise<EncodedMessage> {
    const { instanceName, action } = actionOf(request);
    const result = request.action_result;
    if (result === null) throw new CacheError("invalid_argument", "action_result: expected one, got none");
    checkActionResult(result, action.fn);
    const encoded = actionResultCodec.encode(result);
    await this.#actions.put(instanceName, action, encoded);
    return new EncodedMessage(encoded);
  }

  #answer(
    request: GetActionResultRequest,
    action: Digest,
    stored: Uint8Array | undefined,
  ): Promise<EncodedMessage> | EncodedMessage {
    if (stored === undefined) throw absent(action);
    if (asksForContents(request) || !isWithoutContents(stored)) return this.#inlined(request, action, stored);
    return new EncodedMessage(stored);
  }

  async #inlined(request: GetActionResultRequest, action: Digest, stored: Uint8Array): Promise<EncodedMessage> {
    const result = decodeStored(stored);
    if (result === undefined) throw absent(action);
    await inlineOutputs(result, request, action.fn, this.#blobs, this.#inlineBytesMax);
    return new EncodedMessage(actionResultCodec.encode(result));
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

function absent(action: Digest): CacheError {
  return new CacheError("not_found", `no complete action result for ${digestToString(action)} is in the cache`);
}

function asksForContents(request: GetActionResultRequest): boolean {
  return request.inline_stdout || request.inline_stderr || request.inline_output_files.length > 0;
}

/** Whether it can be sent just as it is to whoever asks for no contents. */
function isWithoutContents(stored: Uint8Array): boolean {
  try {
    return !hasContents(asBuffer(stored));
  } catch {
    return false;
  }
}

/** A value that is no action result, as plain HTTP clients may store it, is a miss here. */
function decodeStored(bytes: Uint8Array): ActionResult | undefined {
  try {
    return actionResultCodec.decode(bytes);
  } catch {
    return undefined;
  }
}
