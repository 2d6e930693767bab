import protobuf from "protobufjs";
import descriptor from "protobufjs/ext/descriptor/index.js";
import { expect, test } from "vitest";
import { reflectionService } from "../../src/grpc/reflection-service.ts";
import { collect } from "../contract/grpc-transport-methods.ts";
import { serveMethods, serviceClient } from "./service-client.ts";

const V1 = "grpc.reflection.v1.ServerReflection";
const V1_ALPHA = "grpc.reflection.v1alpha.ServerReflection";
const EXECUTE_RESPONSE = "build.bazel.remote.execution.v2.ExecuteResponse";

interface Answer {
  original_request: object;
  valid_host: string;
  list_services_response?: { service: { name: string }[] };
  file_descriptor_response?: { file_descriptor_proto: Buffer[] };
  all_extension_numbers_response?: object;
  error_response?: { error_code: number; error_message: string };
}

async function ask(requests: object[], service: typeof V1 | typeof V1_ALPHA = V1): Promise<Answer[]> {
  const methods = reflectionService({ services: ["google.bytestream.ByteStream"] });
  const call = serviceClient(await serveMethods(methods), service).duplex("ServerReflectionInfo");
  for (const request of requests) call.write(request);
  call.end();
  const { texts, error } = await collect(call as unknown as Parameters<typeof collect>[0]);
  expect(error).toBeUndefined();
  return texts as unknown as Answer[];
}

test.each([V1, V1_ALPHA] as const)("%s lists the services and itself", async (service) => {
  const [answer] = await ask([{ host: "h", list_services: "" }], service);
  expect(answer?.list_services_response?.service.map(({ name }) => name)).toEqual([
    "google.bytestream.ByteStream",
    V1,
    V1_ALPHA,
  ]);
  expect(answer).toMatchObject({ valid_host: "h", original_request: { host: "h", list_services: "" } });
});

test("a symbol is answered with a set of files in which every type can be resolved", async () => {
  const [answer] = await ask([{ file_containing_symbol: EXECUTE_RESPONSE }]);
  const files = (answer?.file_descriptor_response?.file_descriptor_proto ?? []).map(decodedFile);
  const names = files.map(({ name }) => name);
  expect(files[0]?.package).toBe("build.bazel.remote.execution.v2");
  for (const file of files) expect(names).toEqual(expect.arrayContaining(file.dependency ?? []));
  const root = rootOf(files).resolveAll();
  const response = (root as protobuf.Root).lookupType(EXECUTE_RESPONSE);
  expect(response.fields["status"]?.resolvedType?.fullName).toBe(".google.rpc.Status");
  expect(response.get("ServerLogsEntry")).not.toBeNull();
});

test.each([
  "google.bytestream.ByteStream",
  "google.bytestream.ByteStream.Write",
  "google.bytestream.WriteRequest.resource_name",
  "build.bazel.remote.execution.v2.DigestFunction.Value",
  "build.bazel.remote.execution.v2.DigestFunction.SHA256",
  "google.protobuf.Any",
])("the symbol %s is known", async (symbol) => {
  const [answer] = await ask([{ file_containing_symbol: symbol }]);
  expect(symbol.startsWith(decodedFile(answer!.file_descriptor_response!.file_descriptor_proto[0]!).package!)).toBe(
    true,
  );
});

test("a file is found by the name under which another imports it", async () => {
  const [first] = await ask([{ file_containing_symbol: EXECUTE_RESPONSE }]);
  const [file] = first!.file_descriptor_response!.file_descriptor_proto.map(decodedFile);
  const requests = file!.dependency!.map((name) => ({ file_by_filename: name }));
  expect(requests.length).toBeGreaterThan(2);
  const answers = await ask(requests);
  expect(answers.map((answer) => decodedFile(answer.file_descriptor_response!.file_descriptor_proto[0]!).name)).toEqual(
    file!.dependency,
  );
});

test("what is not there is answered with an error, and the questions after it with answers", async () => {
  const answers = await ask([
    { file_by_filename: "no/such.proto" },
    { file_containing_symbol: "no.Such" },
    { file_containing_extension: { containing_type: EXECUTE_RESPONSE, extension_number: 5 } },
    { all_extension_numbers_of_type: "no.Such" },
    { host: "no question" },
    { all_extension_numbers_of_type: EXECUTE_RESPONSE },
  ]);
  expect(answers.map((answer) => answer.error_response?.error_code)).toEqual([5, 5, 5, 5, 3, undefined]);
  expect(answers[1]?.error_response?.error_message).toBe('expected a file or symbol of this server, got "no.Such"');
  expect(answers[5]?.all_extension_numbers_response).toEqual({
    base_type_name: EXECUTE_RESPONSE,
    extension_number: [],
  });
});

interface DecodedFile {
  name?: string;
  package?: string;
  dependency?: string[];
}

function decodedFile(bytes: Buffer): DecodedFile {
  return descriptor.FileDescriptorProto.decode(bytes) as DecodedFile;
}

/** protobufjs's descriptor extension adds the method without declaring it. */
function rootOf(files: DecodedFile[]): protobuf.Root {
  const rootClass = protobuf.Root as unknown as { fromDescriptor(set: object): protobuf.Root };
  return rootClass.fromDescriptor({ file: files });
}
