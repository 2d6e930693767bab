import { CacheError } from "../cache/cache-error.ts";
import { type ClaimedClient, claimedClientOf } from "./claimed-client.ts";
import type { ReadRequest } from "./byte-stream-messages.ts";
import { GRPC_STATUS } from "./grpc-status.ts";
import type { BatchReadBlobsRequest, BatchReadBlobsResponse, FindMissingBlobsResponse } from "./messages.ts";
import type { FindMissingBlobsRequest } from "./proto-find-missing-codec.ts";
import type { BoundMethod, CallContext, ResponseSource } from "./transport/handler.ts";

/** Look-ups that are counted by who asked. */
export type ClientLookupKind = "ac" | "cas" | "find_missing";

/** Where look-ups are counted by who asked; implemented by the metrics of the process. */
export interface ClientMeter {
  countLookups(client: ClaimedClient, instanceName: string, kind: ClientLookupKind, hits: number, misses: number): void;
}

type Count = (hits: number, misses: number) => void;

/** How an answer, or a failure, is counted. */
interface Rule {
  readonly kind: ClientLookupKind;
  readonly instanceName: (request: never) => string;
  readonly answered: (count: Count, request: never, response: never) => void;
  readonly failed: (count: Count, error: unknown) => void;
}

const instanceNameIn = ({ instance_name }: { instance_name: string }): string => instance_name;
const isMiss = (error: unknown): boolean => error instanceof CacheError && error.code === "not_found";
const oneMiss = (count: Count, error: unknown): void => {
  if (isMiss(error)) count(0, 1);
};
const oneHit = (count: Count): void => count(1, 0);

const RULES: Readonly<Record<string, Rule>> = {
  "/build.bazel.remote.execution.v2.ActionCache/GetActionResult": {
    kind: "ac",
    instanceName: instanceNameIn,
    answered: oneHit,
    failed: oneMiss,
  },
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs": {
    kind: "find_missing",
    instanceName: instanceNameIn,
    answered(count, { blob_digests }: FindMissingBlobsRequest, { missing_blob_digests }: FindMissingBlobsResponse) {
      count(blob_digests.count - missing_blob_digests.length, missing_blob_digests.length);
    },
    failed: () => undefined,
  },
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs": {
    kind: "cas",
    instanceName: instanceNameIn,
    answered(count, _: BatchReadBlobsRequest, { responses }: BatchReadBlobsResponse) {
      let misses = 0;
      let hits = 0;
      for (const { status } of responses) {
        if (status?.code === GRPC_STATUS.notFound) misses += 1;
        else if (status?.code === GRPC_STATUS.ok) hits += 1;
      }
      count(hits, misses);
    },
    failed: () => undefined,
  },
  "/google.bytestream.ByteStream/Read": {
    kind: "cas",
    instanceName: ({ resource_name }: ReadRequest) => instanceNameOfBlob(resource_name),
    answered: oneHit,
    failed: oneMiss,
  },
};

/** The same methods, with the look-ups among them counted by tool, by kind of action and by instance. */
export function countLookupsByClient(methods: readonly BoundMethod[], meter: ClientMeter): BoundMethod[] {
  return methods.map((method) => {
    const rule = RULES[method.definition.path];
    return rule === undefined ? method : countedMethod(method, rule, meter);
  });
}

function countedMethod(method: BoundMethod, rule: Rule, meter: ClientMeter): BoundMethod {
  const { kind, instanceName, answered, failed } = rule;
  const countFor = (request: unknown, call: CallContext): Count => {
    return (hits, misses) =>
      meter.countLookups(claimedClientOf(call), instanceName(request as never), kind, hits, misses);
  };
  if (method.kind === "unary") {
    const { handler } = method;
    return {
      ...method,
      handler(request: unknown, call: CallContext) {
        const count = countFor(request, call);
        const note = (response: unknown): unknown => (answered(count, request as never, response as never), response);
        const broken = (error: unknown): never => {
          failed(count, error);
          throw error;
        };
        let answering: unknown;
        try {
          answering = handler(request, call);
        } catch (error) {
          return broken(error);
        }
        return answering instanceof Promise ? answering.then(note, broken) : note(answering);
      },
    };
  }
  if (method.kind !== "serverStream") return method;
  const { handler, definition } = method;
  return {
    ...method,
    handler(request: unknown, call: CallContext) {
      const count = countFor(request, call);
      let responses;
      try {
        responses = handler(request, call);
      } catch (error) {
        failed(count, error);
        throw error;
      }
      if (Symbol.asyncIterator in responses) throw new TypeError(`${definition.path}: only sources are counted`);
      return new CountedResponses(responses, {
        begun: () => answered(count, request as never, undefined as never),
        failed: (error) => failed(count, error),
      });
    },
  };
}

/** Told of how the first response comes about; the others pass. */
class CountedResponses implements ResponseSource<unknown> {
  readonly #responses: ResponseSource<unknown>;
  readonly #told: { readonly begun: () => void; readonly failed: (error: unknown) => void };
  #isBegun = false;

  constructor(responses: ResponseSource<unknown>, told: { begun: () => void; failed: (error: unknown) => void }) {
    this.#responses = responses;
    this.#told = told;
  }

  take(bytesMax: number): unknown {
    const response = this.#responses.take(bytesMax);
    if (response !== undefined) this.#begin();
    return response;
  }

  more(): Promise<boolean> | false {
    const more = this.#responses.more();
    if (more === false) this.#begin();
    return more === false || this.#isBegun ? more : this.#first(more);
  }

  close(): void {
    this.#responses.close();
  }

  async #first(coming: Promise<boolean>): Promise<boolean> {
    try {
      const isThere = await coming;
      this.#begin();
      return isThere;
    } catch (error) {
      this.#told.failed(error);
      throw error;
    }
  }

  #begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.#told.begun();
  }
}

/** The instance of a blob's name that was found to be well-formed: no segment of it is a reserved word. */
function instanceNameOfBlob(resourceName: string): string {
  for (const word of ["blobs/", "compressed-blobs/"]) {
    if (resourceName.startsWith(word)) return "";
    const at = resourceName.indexOf(`/${word}`);
    if (at !== -1) return resourceName.slice(0, at);
  }
  return "";
}
