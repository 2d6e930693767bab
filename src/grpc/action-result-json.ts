import { create, createFileRegistry, fromBinary, fromJsonString, toBinary, toJsonString } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { CacheError } from "../cache/cache-error.ts";
import { indexProtoFiles, type ProtoFile } from "./proto-file-descriptors.ts";

const ACTION_RESULT = "build.bazel.remote.execution.v2.ActionResult";

let madeCodec: ReturnType<typeof createCodec> | undefined;

/** An encoded action result as proto3 JSON. @throws where it does not decode. */
export function actionResultToJson(encoded: Uint8Array): string {
  return codec().toJson(encoded);
}

/**
 * @throws {CacheError} invalid_argument where it is not the JSON of an action result.
 */
export function actionResultFromJson(json: string): Uint8Array {
  try {
    return codec().fromJson(json);
  } catch (error) {
    const reason = error instanceof Error ? error.message : "undecodable";
    throw new CacheError("invalid_argument", `action result: expected proto3 JSON: ${reason}`, { cause: error });
  }
}

/** Made when it is first wanted: few clients ask for JSON, and it takes some 30 ms. */
function codec(): ReturnType<typeof createCodec> {
  madeCodec ??= createCodec();
  return madeCodec;
}

function createCodec() {
  const files = withImports(ACTION_RESULT).map(({ encoded }) => fromBinary(FileDescriptorProtoSchema, encoded));
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: files }));
  const schema = registry.getMessage(ACTION_RESULT);
  if (schema === undefined) throw new TypeError(`proto/ defines no ${ACTION_RESULT}`);
  return {
    toJson: (encoded: Uint8Array) => toJsonString(schema, fromBinary(schema, encoded), { registry, prettySpaces: 2 }),
    fromJson: (json: string) => toBinary(schema, fromJsonString(schema, json, { registry })),
  };
}

/** The file that defines the message, behind everything that it imports. */
function withImports(symbol: string): ProtoFile[] {
  const { byName, bySymbol } = indexProtoFiles();
  const ordered = new Set<ProtoFile>();
  const add = (file: ProtoFile | undefined): void => {
    if (file === undefined || ordered.has(file)) return;
    for (const name of file.imports) add(byName.get(name));
    ordered.add(file);
  };
  add(bySymbol.get(symbol));
  return [...ordered];
}
