/**
 * The descriptors that reflection serves. proto-loader makes them, one file per package; what it leaves undone (names
 * of types relative to their scope, no imports, no names for JSON, unconventional names of map entries) is mended here,
 * because clients check it.
 */
import type { AnyDefinition, MessageTypeDefinition } from "@grpc/proto-loader";
import descriptor, {
  type IDescriptorProto,
  type IEnumDescriptorProto,
  type IFileDescriptorProto,
} from "protobufjs/ext/descriptor/index.js";
import { PROTO_PACKAGES } from "./proto-definitions.ts";

/** One file of definitions. */
export interface ProtoFile {
  readonly name: string;
  /** Names of the files that it imports. */
  readonly imports: readonly string[];
  /** Encoded `google.protobuf.FileDescriptorProto`. */
  readonly encoded: Buffer;
}

export interface ProtoFileIndex {
  readonly byName: ReadonlyMap<string, ProtoFile>;
  /** By full name of a message, field, enum, service or rpc. */
  readonly bySymbol: ReadonlyMap<string, ProtoFile>;
}

/** Indexes everything under `proto/` and the well-known types that it uses. */
export function indexProtoFiles(): ProtoFileIndex {
  const files = decodedFiles();
  const fileOfSymbol = new Map<string, string>();
  for (const file of files) {
    for (const symbol of symbolsOf(file)) fileOfSymbol.set(symbol, nameOf(file));
  }
  const byName = new Map(files.map((file) => [nameOf(file), mendedFile(file, fileOfSymbol)]));
  const bySymbol = new Map<string, ProtoFile>();
  for (const [symbol, name] of fileOfSymbol) bySymbol.set(symbol, byName.get(name)!);
  return { byName, bySymbol };
}

function decodedFiles(): IFileDescriptorProto[] {
  const someMessage = Object.values<AnyDefinition>(PROTO_PACKAGES).find(
    (definition): definition is MessageTypeDefinition<object, object> => "fileDescriptorProtos" in definition,
  );
  // Every definition carries the files of all.
  const files = someMessage?.fileDescriptorProtos ?? [];
  return files.map((encoded) => {
    const file = descriptor.FileDescriptorProto.decode(encoded) as IFileDescriptorProto;
    for (const message of file.messageType ?? []) renameMapEntries(message);
    return file;
  });
}

function* symbolsOf(file: IFileDescriptorProto): Generator<string> {
  const scope = file.package ?? "";
  for (const message of file.messageType ?? []) yield* symbolsOfMessage(message, scope);
  for (const enumType of file.enumType ?? []) yield* symbolsOfEnum(enumType, scope);
  for (const service of file.service ?? []) {
    const name = `${scope}.${service.name}`;
    yield name;
    for (const method of service.method ?? []) yield `${name}.${method.name}`;
  }
}

function* symbolsOfMessage(message: IDescriptorProto, scope: string): Generator<string> {
  const name = `${scope}.${message.name}`;
  yield name;
  for (const field of message.field ?? []) yield `${name}.${field.name}`;
  for (const nested of message.nestedType ?? []) yield* symbolsOfMessage(nested, name);
  for (const enumType of message.enumType ?? []) yield* symbolsOfEnum(enumType, name);
}

/** The values of an enum live in the scope around it. */
function* symbolsOfEnum(enumType: IEnumDescriptorProto, scope: string): Generator<string> {
  yield `${scope}.${enumType.name}`;
  for (const value of enumType.value ?? []) yield `${scope}.${value.name}`;
}

function mendedFile(file: IFileDescriptorProto, fileOfSymbol: ReadonlyMap<string, string>): ProtoFile {
  const used = new Set<string>();
  const use = (symbol: string): string => {
    const owner = fileOfSymbol.get(symbol);
    if (owner === undefined) throw new TypeError(`proto/ defines no ${symbol}`);
    used.add(owner);
    return `.${symbol}`;
  };
  for (const message of file.messageType ?? []) {
    mendMessage(message, file.package ?? "", (name, scope) => use(resolve(name, scope, fileOfSymbol)));
  }
  for (const method of (file.service ?? []).flatMap((service) => service.method ?? [])) {
    // These are absolute already: only the imports are wanted.
    for (const type of [method.inputType, method.outputType]) use((type ?? "").slice(1));
  }
  used.delete(nameOf(file));
  const imports = [...used].toSorted();
  const mended = { ...file, dependency: imports };
  return { name: nameOf(file), imports, encoded: Buffer.from(descriptor.FileDescriptorProto.encode(mended).finish()) };
}

function mendMessage(
  message: IDescriptorProto,
  scope: string,
  absolute: (name: string, scope: string) => string,
): void {
  const ownScope = `${scope}.${message.name}`;
  for (const field of message.field ?? []) {
    if (field.typeName) field.typeName = absolute(field.typeName, ownScope);
    field.jsonName = (field.name ?? "").replaceAll(/_+(\w)/g, (_match, letter: string) => letter.toUpperCase());
  }
  for (const nested of message.nestedType ?? []) mendMessage(nested, ownScope, absolute);
}

/** Protobuf demands that the entry type of the map `server_logs` be called `ServerLogsEntry`. */
function renameMapEntries(message: IDescriptorProto): void {
  for (const entry of message.nestedType ?? []) {
    renameMapEntries(entry);
    const field = message.field?.find(({ typeName }) => typeName === entry.name);
    if (entry.options?.mapEntry !== true || field?.name === undefined) continue;
    entry.name = `${field.name.replaceAll(/(?:^|_)(\w)/g, (_match, letter: string) => letter.toUpperCase())}Entry`;
    field.typeName = entry.name;
  }
}

/** Looks a name up from the inside out, as protobuf does. */
function resolve(name: string, scope: string, symbols: ReadonlyMap<string, string>): string {
  if (name.startsWith(".")) return name.slice(1);
  for (let around = scope; around !== ""; around = around.slice(0, Math.max(0, around.lastIndexOf(".")))) {
    if (symbols.has(`${around}.${name}`)) return `${around}.${name}`;
  }
  return name;
}

function nameOf(file: IFileDescriptorProto): string {
  return file.name ?? "";
}
