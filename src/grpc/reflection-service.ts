import { GRPC_STATUS } from "./grpc-status.ts";
import { indexProtoFiles, type ProtoFile, type ProtoFileIndex } from "./proto-file-descriptors.ts";
import { bindService } from "./proto-services.ts";
import type { ServerReflectionRequest, ServerReflectionResponse } from "./reflection-messages.ts";
import type { BoundMethod } from "./transport/handler.ts";

const REFLECTION_SERVICES = [
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
] as const;

/** The part of a response that answers. */
type Answer = Omit<ServerReflectionResponse, "valid_host" | "original_request">;

export interface ReflectionServiceOptions {
  /** Full names of the services to list beside reflection itself. */
  readonly services: readonly string[];
}

/** `grpc.reflection.v1` and its older twin `v1alpha`, for clients such as grpcurl. */
export function reflectionService(options: ReflectionServiceOptions): BoundMethod[] {
  const listed = [...new Set([...options.services, ...REFLECTION_SERVICES])].toSorted();
  let index: ProtoFileIndex | undefined;
  async function* answers(requests: AsyncIterable<ServerReflectionRequest>): AsyncGenerator<ServerReflectionResponse> {
    for await (const request of requests) {
      // Made at the first question: most servers are never asked one.
      index ??= indexProtoFiles();
      yield { valid_host: request.host, original_request: request, ...answer(request, index, listed) };
    }
  }
  return REFLECTION_SERVICES.flatMap((name) => bindService(name, { ServerReflectionInfo: answers }));
}

function answer(request: ServerReflectionRequest, index: ProtoFileIndex, services: readonly string[]): Answer {
  switch (request.message_request) {
    case "list_services":
      return { list_services_response: { service: services.map((name) => ({ name })) } };
    case "file_by_filename":
      return fileAnswer(index.byName.get(request.file_by_filename ?? ""), index, request.file_by_filename);
    case "file_containing_symbol":
      return fileAnswer(
        index.bySymbol.get(request.file_containing_symbol ?? ""),
        index,
        request.file_containing_symbol,
      );
    case "all_extension_numbers_of_type":
      return extensionsAnswer(index, request.all_extension_numbers_of_type ?? "");
    case "file_containing_extension":
      return notFound("extension", request.file_containing_extension?.containing_type);
    case undefined:
    default:
      return {
        error_response: {
          error_code: GRPC_STATUS.invalidArgument,
          error_message: "message_request: expected one of its members, got none",
        },
      };
  }
}

function fileAnswer(file: ProtoFile | undefined, index: ProtoFileIndex, asked: string | undefined): Answer {
  if (file === undefined) return notFound("file or symbol", asked);
  const wanted = new Map<string, ProtoFile>([[file.name, file]]);
  // A map grows while it is iterated: imports of imports are reached, each once.
  for (const { imports } of wanted.values()) {
    for (const name of imports) {
      const imported = index.byName.get(name);
      if (imported !== undefined) wanted.set(name, imported);
    }
  }
  return { file_descriptor_response: { file_descriptor_proto: [...wanted.values()].map(({ encoded }) => encoded) } };
}

/** There are no extensions in proto3. */
function extensionsAnswer(index: ProtoFileIndex, typeName: string): Answer {
  if (!index.bySymbol.has(typeName)) return notFound("message", typeName);
  return { all_extension_numbers_response: { base_type_name: typeName, extension_number: [] } };
}

function notFound(what: string, asked: string | undefined): Answer {
  return {
    error_response: {
      error_code: GRPC_STATUS.notFound,
      error_message: `expected a ${what} of this server, got ${JSON.stringify(asked ?? "")}`,
    },
  };
}
