import { expect, test } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { actionResultCodec, requestMetadataCodec, treeCodec } from "../../src/grpc/proto-definitions.ts";

const HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

test("an ActionResult survives a round trip, and what was left out comes back as defaults", () => {
  const stdout = new Uint8Array([1, 2, 3]);
  const decoded = actionResultCodec.decode(
    actionResultCodec.encode({
      output_files: [{ path: "a/b", digest: { hash: HASH, size_bytes: 2 ** 40 }, is_executable: true }],
      exit_code: -1,
      stdout_raw: stdout,
    }),
  );
  expect(decoded.output_files).toEqual([
    {
      path: "a/b",
      digest: { hash: HASH, size_bytes: 2 ** 40 },
      is_executable: true,
      contents: Buffer.alloc(0),
      node_properties: null,
    },
  ]);
  expect(decoded.exit_code).toBe(-1);
  expect(decoded.stdout_raw).toEqual(Buffer.from(stdout));
  expect(decoded.stdout_digest).toBeNull();
  expect(decoded.output_directories).toEqual([]);
  expect(decoded.execution_metadata).toBeNull();
});

test("a negative size of a digest is decoded as such, for the domain to refuse", () => {
  const decoded = actionResultCodec.decode(actionResultCodec.encode({ stderr_digest: { hash: "x", size_bytes: -5 } }));
  expect(decoded.stderr_digest).toEqual({ hash: "x", size_bytes: -5 });
});

test("a plain Uint8Array decodes like a Buffer, also from the middle of its memory", () => {
  const encoded = requestMetadataCodec.encode({ tool_details: { tool_name: "bazel", tool_version: "8" } });
  const memory = new Uint8Array(encoded.length + 10);
  memory.set(encoded, 5);
  const decoded = requestMetadataCodec.decode(memory.subarray(5, 5 + encoded.length));
  expect(decoded.tool_details).toEqual({ tool_name: "bazel", tool_version: "8" });
  expect(decoded.action_id).toBe("");
});

test("unknown fields are skipped", () => {
  const encoded = treeCodec.encode({ root: { files: [{ name: "f" }] } });
  const unknown = Buffer.from([0xf8, 0x01, 0x05]);
  expect(treeCodec.decode(Buffer.concat([unknown, encoded])).root?.files[0]?.name).toBe("f");
});

test.each([
  ["cut short", treeCodec.encode({ root: { files: [{ name: "file" }] } }).subarray(0, -2)],
  ["garbage", Buffer.from("this is not a protobuf message")],
  ["an endless varint", Buffer.alloc(20, 0xff)],
])("a Tree that is %s is refused with the name of the message", (_name, bytes) => {
  let thrown: unknown;
  try {
    treeCodec.decode(bytes);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(CacheError);
  expect(thrown).toMatchObject({ code: "invalid_argument" });
  expect((thrown as CacheError).message).toMatch(
    /^build\.bazel\.remote\.execution\.v2\.Tree: expected an encoded message/,
  );
});
