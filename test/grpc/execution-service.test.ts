import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { executionService } from "../../src/grpc/execution-service.ts";
import { collect } from "../contract/grpc-transport-methods.ts";
import { serveMethods, serviceClient } from "./service-client.ts";

const EXECUTION = "build.bazel.remote.execution.v2.Execution";

test.each(["Execute", "WaitExecution"])("%s is UNIMPLEMENTED with a sentence", async (rpc) => {
  const execution = serviceClient(await serveMethods(executionService()), EXECUTION);
  const { error } = await collect(execution.serverStream(rpc, {}) as Parameters<typeof collect>[0]);
  expect(error).toMatchObject({
    code: status.UNIMPLEMENTED,
    details: `/${EXECUTION}/${rpc}: this server is a cache and executes no actions`,
  });
});
