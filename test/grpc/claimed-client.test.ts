import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { claimedClientOf } from "../../src/grpc/claimed-client.ts";
import { requestMetadataCodec } from "../../src/grpc/proto-definitions.ts";
import { callContext } from "../support/call-context.ts";

const HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin";
const callWith = (bytes: Uint8Array) => callContext({ binaryHeaders: { [HEADER]: bytes } });

describe("what a client says of itself", () => {
  test("is what RequestMetadata says", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.string(),
        fc.string(),
        fc.string(),
        (tool_name, tool_version, id, action_mnemonic) => {
          const tool_details = { tool_name, tool_version };
          const encoded = requestMetadataCodec.encode({ tool_details, action_id: id, action_mnemonic, target_id: id });
          const decoded = requestMetadataCodec.decode(Buffer.from(encoded));
          expect(claimedClientOf(callWith(encoded))).toEqual({
            toolName: decoded.tool_details?.tool_name,
            actionMnemonic: decoded.action_mnemonic,
          });
        },
      ),
    );
  });

  test("is unknown without it, and where it does not decode", () => {
    const unknown = { toolName: "", actionMnemonic: "" };
    expect(claimedClientOf(callContext())).toEqual(unknown);
    const encoded = requestMetadataCodec.encode({ tool_details: { tool_name: "bazel" }, action_mnemonic: "Javac" });
    expect(claimedClientOf(callWith(encoded.subarray(0, encoded.length - 1)))).toEqual(unknown);
    expect(claimedClientOf(callWith(Buffer.alloc(1000, 0xff)))).toEqual(unknown);
  });

  test("never throws, whatever the header holds", () => {
    const isAnswered = (bytes: Uint8Array): boolean => typeof claimedClientOf(callWith(bytes)).toolName === "string";
    fc.assert(fc.property(fc.uint8Array(), isAnswered));
  });
});
