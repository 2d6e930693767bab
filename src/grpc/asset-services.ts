import type { AssetFailure, AssetKind } from "../asset/asset.ts";
import type { Assets, FetchOutcome } from "../asset/assets.ts";
import { DIGEST_FUNCTIONS } from "../cache/digest.ts";
import { checkInstanceName } from "../cache/instance-name.ts";
import type { FetchRequest, PushRequest } from "./asset-messages.ts";
import {
  checkReferenceCount,
  requestQualifiers,
  requestTimeMs,
  requestTimeoutMs,
  requestUris,
} from "./asset-request.ts";
import type { Status } from "./google-messages.ts";
import { GRPC_STATUS } from "./grpc-status.ts";
import type { Digest } from "./messages.ts";
import { bindService } from "./proto-services.ts";
import { digestMessage, requestDigest, requestDigestFunction } from "./request-digest.ts";
import type { BoundMethod, CallContext } from "./transport/handler.ts";

export interface AssetServicesOptions {
  readonly assets: Assets;
}

/** `Fetch` and `Push` of the Remote Asset API. */
export function assetServices({ assets }: AssetServicesOptions): BoundMethod[] {
  const fetch = (kind: AssetKind, request: FetchRequest, call: CallContext): Promise<FetchOutcome> =>
    assets.fetch(fetchRequest(kind, request), call.signal);
  return [
    ...bindService("build.bazel.remote.asset.v1.Fetch", {
      FetchBlob: async (request, call) => {
        const outcome = await fetch("blob", request, call);
        return { ...answerFor(outcome), ...("digest" in outcome && { blob_digest: digestMessage(outcome.digest) }) };
      },
      FetchDirectory: async (request, call) => {
        const outcome = await fetch("directory", request, call);
        const found = "digest" in outcome && { root_directory_digest: digestMessage(outcome.digest) };
        return { ...answerFor(outcome), ...found };
      },
    }),
    ...bindService("build.bazel.remote.asset.v1.Push", {
      PushBlob: async (request) => {
        await assets.push(pushRequest("blob", "blob_digest", request.blob_digest, request));
        return {};
      },
      PushDirectory: async (request) => {
        await assets.push(pushRequest("directory", "root_directory_digest", request.root_directory_digest, request));
        return {};
      },
    }),
  ];
}

const OK: Status = { code: GRPC_STATUS.ok, message: "", details: [] };

const CODE_OF_REASON = {
  not_found: GRPC_STATUS.notFound,
  permission_denied: GRPC_STATUS.permissionDenied,
  aborted: GRPC_STATUS.aborted,
  deadline_exceeded: GRPC_STATUS.deadlineExceeded,
  resource_exhausted: GRPC_STATUS.resourceExhausted,
  unavailable: GRPC_STATUS.unavailable,
} satisfies Record<AssetFailure["reason"], number>;

/** What is not this server's fault is told in the answer. `expires_at` stays absent: a lease is no date. */
function answerFor(outcome: FetchOutcome) {
  if ("failure" in outcome) {
    const { reason, message } = outcome.failure;
    return { status: { code: CODE_OF_REASON[reason], message, details: [] }, uri: outcome.uri };
  }
  return { status: OK, uri: outcome.uri, digest_function: DIGEST_FUNCTIONS[outcome.digest.fn].number };
}

function fetchRequest(kind: AssetKind, request: FetchRequest) {
  return {
    kind,
    instanceName: checkInstanceName(request.instance_name),
    // There is no hash to tell it by.
    fn: requestDigestFunction(request.digest_function) ?? ("sha256" as const),
    uris: requestUris(request.uris),
    qualifiers: requestQualifiers(request.qualifiers),
    oldestAcceptedMs: requestTimeMs(request.oldest_content_accepted),
    timeoutMs: requestTimeoutMs(request.timeout),
  };
}

function pushRequest(kind: AssetKind, field: string, message: Digest | null, request: PushRequest) {
  const { references_blobs, references_directories } = request;
  checkReferenceCount("references_blobs", references_blobs);
  checkReferenceCount("references_directories", references_directories);
  const digest = requestDigest(field, message, requestDigestFunction(request.digest_function));
  return {
    kind,
    instanceName: checkInstanceName(request.instance_name),
    fn: digest.fn,
    uris: requestUris(request.uris),
    qualifiers: requestQualifiers(request.qualifiers),
    digest,
    expireAtMs: requestTimeMs(request.expire_at),
    blobs: references_blobs.map((each, index) => requestDigest(`references_blobs[${index}]`, each, digest.fn)),
    directories: references_directories.map((each, index) =>
      requestDigest(`references_directories[${index}]`, each, digest.fn),
    ),
  };
}
