import { createNativeTransport } from "../../src/grpc/transport/native-transport.ts";
import { describeGrpcTransport } from "./grpc-transport-contract.ts";

describeGrpcTransport("native transport", createNativeTransport);
describeGrpcTransport("native transport over TLS", createNativeTransport, { tls: true });
