import { createGrpcJsTransport } from "../../src/grpc/transport/grpc-js-transport.ts";
import { describeGrpcTransport } from "./grpc-transport-contract.ts";

describeGrpcTransport("grpc-js transport", createGrpcJsTransport);
