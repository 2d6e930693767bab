import { expect, test } from "vitest";
import { actionResultCodec, serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import { bindService, EncodedMessage } from "../../src/grpc/proto-services.ts";

test("an rpc is bound under its path with the kind that the proto file gives it", () => {
  const methods = bindService("google.bytestream.ByteStream", {
    Read: async function* () {},
    Write: () => Promise.resolve({ committed_size: 0 }),
    QueryWriteStatus: () => Promise.resolve({}),
  });
  expect(methods.map(({ kind, definition }) => [kind, definition.path])).toEqual([
    ["serverStream", "/google.bytestream.ByteStream/Read"],
    ["clientStream", "/google.bytestream.ByteStream/Write"],
    ["unary", "/google.bytestream.ByteStream/QueryWriteStatus"],
  ]);
  const [reflection] = bindService("grpc.reflection.v1.ServerReflection", {
    ServerReflectionInfo: async function* () {},
  });
  expect(reflection?.kind).toBe("duplex");
});

test("only rpcs with a handler are bound", () => {
  const methods = bindService("build.bazel.remote.execution.v2.ActionCache", {
    GetActionResult: () => Promise.resolve({}),
  });
  expect(methods.length).toBe(1);
});

test("a handler for an rpc that the service does not have is a fault of the program", () => {
  const handlers = { NoSuchRpc: () => Promise.resolve({}) };
  expect(() => bindService("build.bazel.remote.execution.v2.Capabilities", handlers as object)).toThrow(/NoSuchRpc/);
});

test("requests and responses go through the codecs of their messages", () => {
  const [method] = bindService("build.bazel.remote.execution.v2.Capabilities", {
    GetCapabilities: () => Promise.resolve({}),
  });
  const rpc = serviceDefinition("build.bazel.remote.execution.v2.Capabilities")["GetCapabilities"]!;
  expect(method?.definition.decodeRequest(rpc.requestSerialize({ instance_name: "ci" }))).toEqual({
    instance_name: "ci",
  });
  const bytes = method?.definition.encodeResponse({ low_api_version: { major: 2 } });
  expect(rpc.responseDeserialize(bytes!)).toMatchObject({ low_api_version: { major: 2 }, high_api_version: null });
});

test("a request that cannot be decoded is refused with the path of the rpc", () => {
  const [write] = bindService("google.bytestream.ByteStream", { Write: () => Promise.resolve({}) });
  expect(() => write?.definition.decodeRequest(Buffer.from([0x52, 0x7f]))).toThrow(
    /^google\.bytestream\.ByteStream\/Write request: expected an encoded message, got 2 bytes/,
  );
});

test("a response that is encoded already is sent as it is", () => {
  const [method] = bindService("build.bazel.remote.execution.v2.ActionCache", {
    GetActionResult: () => Promise.resolve({}),
  });
  const stored = actionResultCodec.encode({ exit_code: 3 });
  const encoded = method?.definition.encodeResponse(new EncodedMessage(new Uint8Array(stored)));
  expect(Buffer.isBuffer(encoded)).toBe(true);
  expect(encoded?.equals(stored)).toBe(true);
});
