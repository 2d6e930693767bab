import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";
import { expect, test } from "vitest";
import { PROTO_PACKAGES } from "../../src/grpc/proto-definitions.ts";

const PROTO_DIRECTORY = fileURLToPath(new URL("../../proto/", import.meta.url));
const PROTO_FILES = readdirSync(PROTO_DIRECTORY, { recursive: true, encoding: "utf8" }).filter((name) =>
  name.endsWith(".proto"),
);

/** A row of the table: kind, owner, number, name, type or request, label or response. */
type Row = string;

function tableRows(fileName: string): Row[] {
  const [, ...rows] = readFileSync(PROTO_DIRECTORY + fileName, "utf8")
    .trimEnd()
    .split("\n");
  return rows;
}

function loadedRoot(): protobuf.Root {
  const root = new protobuf.Root();
  const resolveBuiltIn = root.resolvePath.bind(root);
  root.resolvePath = (origin, target) =>
    PROTO_FILES.includes(target) ? PROTO_DIRECTORY + target : resolveBuiltIn(origin, target);
  root.loadSync(PROTO_FILES, { keepCase: true });
  return root.resolveAll() as protobuf.Root;
}

/** Everything that is defined but for the well-known types, which are protobufjs's. */
function* definitions(scope: protobuf.NamespaceBase): Generator<protobuf.ReflectionObject> {
  for (const object of scope.nestedArray) {
    if (object.fullName === ".google.protobuf") continue;
    yield object;
    if (object instanceof protobuf.Namespace) yield* definitions(object);
  }
}

function rowsOf(object: protobuf.ReflectionObject): Row[] {
  const owner = fullName(object);
  if (object instanceof protobuf.Enum) {
    return Object.entries(object.values).map(([name, number]) => row("enum", owner, number, name, "", ""));
  }
  if (object instanceof protobuf.Service) {
    return object.methodsArray.map((method) => row("rpc", owner, "", method.name, request(method), response(method)));
  }
  if (object instanceof protobuf.Type) {
    if (object.fieldsArray.length === 0 && object.nestedArray.length === 0) {
      return [row("message", owner, "", "", "", "")];
    }
    return object.fieldsArray.flatMap((field) =>
      field instanceof protobuf.MapField ? mapRows(owner, field) : [fieldRow(owner, field)],
    );
  }
  return [];
}

function fieldRow(owner: string, field: protobuf.Field): Row {
  const label = field.repeated ? "repeated" : field.partOf === null ? "" : `oneof ${field.partOf.name}`;
  return row("field", owner, field.id, field.name, typeOf(field), label);
}

function mapRows(owner: string, field: protobuf.MapField): Row[] {
  const entryName = `${field.name.replaceAll(/(?:^|_)(\w)/g, (_match, letter: string) => letter.toUpperCase())}Entry`;
  const entry = `${owner}.${entryName}`;
  return [
    row("field", owner, field.id, field.name, entry, "repeated"),
    row("field", entry, 1, "key", field.keyType, ""),
    row("field", entry, 2, "value", typeOf(field), ""),
  ];
}

function typeOf(field: protobuf.FieldBase): string {
  return field.resolvedType === null ? field.type : fullName(field.resolvedType);
}

function request(method: protobuf.Method): string {
  return `${method.requestStream ? "stream " : ""}${fullName(method.resolvedRequestType!)}`;
}

function response(method: protobuf.Method): string {
  return `${method.responseStream ? "stream " : ""}${fullName(method.resolvedResponseType!)}`;
}

function fullName(object: protobuf.ReflectionObject): string {
  return object.fullName.slice(1);
}

function row(...columns: (string | number)[]): Row {
  return columns.join("\t");
}

const EXPECTED = [...tableRows("wire.tsv"), ...tableRows("wire-additions.tsv")];
const DEFINED = [...definitions(loadedRoot())];

test("every row of the wire tables is defined in proto/, and nothing else is", () => {
  expect(DEFINED.flatMap(rowsOf).toSorted()).toEqual(EXPECTED.toSorted());
});

test("the wire tables are whole: they have the number of rows that they began with, each once", () => {
  expect(tableRows("wire.tsv").length).toBe(335);
  expect(tableRows("wire-additions.tsv").length).toBe(56);
  expect(new Set(EXPECTED).size).toBe(EXPECTED.length);
});

test("the server loads every message, enum and service of proto/", () => {
  const loadable = DEFINED.filter(
    (object) => object instanceof protobuf.Service || (object instanceof protobuf.Type && !isNested(object)),
  );
  expect(loadable.map(fullName).filter((name) => PROTO_PACKAGES[name] === undefined)).toEqual([]);
});

test("every message, enum and service of proto/ has a comment", () => {
  const root = new protobuf.Root();
  for (const file of PROTO_FILES) {
    protobuf.parse(readFileSync(PROTO_DIRECTORY + file, "utf8"), root, { keepCase: true, alternateCommentMode: true });
  }
  const commented = [...definitions(root)].filter(
    (object) =>
      object instanceof protobuf.Service || object instanceof protobuf.Type || object instanceof protobuf.Enum,
  );
  expect(commented.length).toBeGreaterThan(100);
  expect(commented.filter((object) => !object.comment).map(fullName)).toEqual([]);
});

function isNested(object: protobuf.ReflectionObject): boolean {
  return object.parent instanceof protobuf.Type;
}
