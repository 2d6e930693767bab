import { type Client, type ClientDuplexStream, type ClientReadableStream, Metadata } from "@grpc/grpc-js";
import { onTestFinished } from "vitest";
import { serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import type { ServiceHandlers } from "../../src/grpc/proto-services.ts";
import { createGrpcJsTransport } from "../../src/grpc/transport/grpc-js-transport.ts";
import type { BoundMethod } from "../../src/grpc/transport/handler.ts";
import { TransportHarness } from "../contract/grpc-transport-harness.ts";

/** A client of one service, whose messages are plain objects. */
export interface ServiceClient {
  unary(rpc: string, request: object, metadata?: Metadata): Promise<unknown>;
  serverStream(rpc: string, request: object): ClientReadableStream<unknown>;
  duplex(rpc: string): ClientDuplexStream<object, unknown>;
}

/** Serves `methods` until the test is over. */
export async function serveMethods(methods: readonly BoundMethod[]): Promise<Client> {
  const harness = await TransportHarness.start(createGrpcJsTransport, methods);
  onTestFinished(() => harness[Symbol.asyncDispose]());
  return harness.client();
}

export function serviceClient(client: Client, service: keyof ServiceHandlers): ServiceClient {
  const rpcs = serviceDefinition(service);
  return {
    unary: (name, request, metadata = new Metadata()) =>
      new Promise((resolve, reject) => {
        const { path, requestSerialize, responseDeserialize } = rpcs[name]!;
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, (error, response) => {
          if (error === null) resolve(response);
          else reject(error);
        });
      }),
    serverStream: (name, request) => {
      const { path, requestSerialize, responseDeserialize } = rpcs[name]!;
      return client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    },
    duplex: (name) => {
      const { path, requestSerialize, responseDeserialize } = rpcs[name]!;
      return client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    },
  };
}
