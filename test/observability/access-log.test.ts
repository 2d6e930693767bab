import { pino } from "pino";
import { expect, test } from "vitest";
import { ObservedCall } from "../../src/grpc/observed-call.ts";
import { requestMetadataCodec } from "../../src/grpc/proto-definitions.ts";
import { createAccessLog } from "../../src/observability/access-log.ts";
import { allObservers, type ObservedRequest, requestIdOf } from "../../src/observability/request-observer.ts";
import { callContext } from "../support/call-context.ts";

const OUTCOME = { statusCode: 5, status: "notFound", isServerFault: false, durationMs: 1.23456 };
const METADATA_HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin";

function accessLog(rate: number, random?: () => number) {
  const lines: string[] = [];
  const logger = pino({ base: null, timestamp: false }, { write: (line) => void lines.push(line) });
  return { observe: createAccessLog(rate, logger, random), lines };
}

const httpRequest: ObservedRequest = {
  id: "ab12",
  protocol: "gradle",
  method: "GET",
  path: `/gradle/${"x".repeat(16_000)}`,
  peer: "127.0.0.1:9",
  caller: "c".repeat(9000),
  build: { invocation: "i".repeat(9000), action: "", mnemonic: "", tool: "" },
  header: () => undefined,
};

test("a request is one line of JSON, with what its build tool has told", () => {
  const { observe, lines } = accessLog(1);
  const metadata = requestMetadataCodec.encode({
    tool_details: { tool_name: "bazel", tool_version: "9" },
    action_id: "act",
    tool_invocation_id: "inv",
    correlated_invocations_id: "",
    action_mnemonic: "CppCompile",
    target_id: "",
    configuration_id: "",
  });
  const call = callContext({
    path: "/google.bytestream.ByteStream/Read",
    headers: { "x-request-id": "mine-1" },
    binaryHeaders: { [METADATA_HEADER]: metadata },
  });
  observe(new ObservedCall(call))?.(OUTCOME);
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    {
      level: 30,
      requestId: "mine-1",
      protocol: "grpc",
      method: "google.bytestream.ByteStream/Read",
      peer: "127.0.0.1:1",
      build: { invocation: "inv", action: "act", mnemonic: "CppCompile", tool: "bazel 9" },
      status: "notFound",
      durationMs: 1.235,
      msg: "request",
    },
  ]);
});

test("a line is short enough to be written at once, however long what the client has sent", () => {
  const { observe, lines } = accessLog(1);
  observe(httpRequest)?.(OUTCOME);
  expect(lines[0]).toContain("/gradle/xxx");
  expect(lines[0]).toContain('"caller":"ccc');
  expect(lines[0]!.length).toBeLessThan(2048);
});

test("metadata that cannot be read are left out", () => {
  const call = callContext({ binaryHeaders: { [METADATA_HEADER]: Buffer.from("ffffff", "hex") } });
  expect(new ObservedCall(call).build).toBeUndefined();
});

test("a share of the requests is logged, chosen when they begin", () => {
  const drawn = [0.2, 0.25, 0.3, 0];
  const { observe, lines } = accessLog(0.25, () => drawn.shift() ?? 1);
  const ends = [1, 2, 3, 4].map(() => observe(httpRequest));
  expect(ends.map((end) => end !== undefined)).toEqual([true, false, false, true]);
  for (const end of ends) end?.(OUTCOME);
  expect(lines).toHaveLength(2);
});

test("a request keeps its id, takes a harmless one from the client, and is given one otherwise", () => {
  const [one, other, third] = [{}, {}, {}];
  expect(requestIdOf(one, "build-7/step.3")).toBe("build-7/step.3");
  expect(requestIdOf(one, undefined)).toBe("build-7/step.3");
  for (const [request, given] of [
    [other, 'with "quotes"'],
    [third, "x".repeat(65)],
  ] as const) {
    const id = requestIdOf(request, given);
    expect(id).toMatch(/^[0-9a-f]{16}$/);
    expect(requestIdOf(request, undefined)).toBe(id);
  }
});

test("several observers are told of each request, and nobody is where none wants to hear of its end", () => {
  expect(allObservers([])).toBeUndefined();
  const told: string[] = [];
  const uninterested = () => undefined;
  const both = allObservers([() => () => told.push("one"), uninterested, () => () => told.push("two")]);
  both?.(httpRequest)?.(OUTCOME);
  expect(told).toEqual(["one", "two"]);
  expect(allObservers([uninterested, uninterested])?.(httpRequest)).toBeUndefined();
});
