import { onTestFinished } from "vitest";
import { describeAdmission } from "./grpc-transport-admission-contract.ts";
import { describeCalls } from "./grpc-transport-call-contract.ts";
import { describeFailures } from "./grpc-transport-failure-contract.ts";
import { describeFlow } from "./grpc-transport-flow-contract.ts";
import {
  type HarnessOptions,
  type StartTransport,
  type TransportFactory,
  TransportHarness,
} from "./grpc-transport-harness.ts";
import { describeLending } from "./grpc-transport-lending-contract.ts";
import { textMethods } from "./grpc-transport-methods.ts";
import { describeSources } from "./grpc-transport-source-contract.ts";

/** What every transport has to do, whatever it is built on. */
export function describeGrpcTransport(name: string, factory: TransportFactory, ofAll: HarnessOptions = {}): void {
  const start: StartTransport = async (handlers, options = {}) => {
    const harness = await TransportHarness.start(factory, textMethods(handlers), { ...ofAll, ...options });
    onTestFinished(() => harness[Symbol.asyncDispose]());
    return harness;
  };
  describeAdmission(name, start);
  describeCalls(name, start);
  describeFlow(name, start);
  describeFailures(name, start);
  describeSources(name, start);
  describeLending(name, factory, ofAll);
}
