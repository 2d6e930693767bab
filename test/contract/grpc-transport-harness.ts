import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { Client, type ClientOptions, credentials } from "@grpc/grpc-js";
import type { FaultReporter } from "../../src/grpc/grpc-status.ts";
import type { BoundMethod, GrpcTransport } from "../../src/grpc/transport/handler.ts";
import type { TransportOptions } from "../../src/grpc/transport/transport-options.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "../support/test-certificate.ts";
import type { TextHandlers } from "./grpc-transport-methods.ts";

export type TransportFactory = (methods: readonly BoundMethod[], options: TransportOptions) => GrpcTransport;

export interface HarnessOptions extends Partial<TransportOptions> {
  /** Has the listener read the first bytes and put them back, as one that tells protocols apart does. */
  readonly peek?: boolean;
  /** Has every connection go over TLS. */
  readonly tls?: boolean;
}

/** Starts a transport that serves these handlers until the test is over. */
export type StartTransport = (handlers: TextHandlers, options?: HarnessOptions) => Promise<TransportHarness>;

/** A message that fills the flow-control window of a stream. */
export const KIB_64 = "x".repeat(64 * 1024);
/** For `vi.waitFor`: the timeout only guards against hangs. */
export const WAIT = { timeout: 20_000, interval: 2 };

/** A transport behind a TCP listener on a free port, and grpc-js clients for it. Closes all of it when disposed. */
export class TransportHarness implements AsyncDisposable {
  readonly transport: GrpcTransport;
  /** Faults that were reported, as [reference, cause, call]. */
  readonly faults: Parameters<FaultReporter>[] = [];
  /** Connections of clients, as the listener accepted them. */
  readonly sockets = new Set<Socket>();
  readonly #listener: Server;
  readonly #tls: boolean;
  readonly #clients: Client[] = [];

  static async start(
    factory: TransportFactory,
    methods: readonly BoundMethod[],
    options: HarnessOptions = {},
  ): Promise<TransportHarness> {
    const harness = new TransportHarness(factory, methods, options);
    harness.#listener.listen(0, "127.0.0.1");
    await once(harness.#listener, "listening");
    return harness;
  }

  private constructor(factory: TransportFactory, methods: readonly BoundMethod[], options: HarnessOptions) {
    const { peek = false, tls = false, ...transportOptions } = options;
    this.#tls = tls;
    this.transport = factory(methods, {
      reportFault: (...fault) => this.faults.push(fault),
      ...transportOptions,
    });
    const take = (socket: Socket): void => {
      this.sockets.add(socket);
      socket.on("error", () => {}).once("close", () => this.sockets.delete(socket));
      if (peek) acceptAfterPeek(this.transport, socket);
      else this.transport.accept(socket);
    };
    const identity = { key: TEST_KEY, cert: TEST_CERTIFICATE, ALPNProtocols: ["h2"] };
    this.#listener = tls ? createTlsServer(identity, take) : createServer(take);
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  /** A client with a connection of its own. */
  client(options: ClientOptions = {}): Client {
    const secure = this.#tls ? credentials.createSsl(Buffer.from(TEST_CERTIFICATE)) : credentials.createInsecure();
    const client = new Client(`127.0.0.1:${this.port}`, secure, {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.ssl_target_name_override": "localhost",
      ...options,
    });
    this.#clients.push(client);
    return client;
  }

  /** A connection on which nothing has been sent. */
  async connect(): Promise<Socket> {
    const to = { host: "127.0.0.1", port: this.port };
    const socket = this.#tls
      ? connectTls({ ...to, servername: "localhost", ca: TEST_CERTIFICATE, ALPNProtocols: ["h2"] })
      : connect(to);
    await once(socket, this.#tls ? "secureConnect" : "connect");
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.transport.drain(0);
    for (const socket of this.sockets) socket.destroy();
    this.#listener.close();
    await once(this.#listener, "close");
  }
}

function acceptAfterPeek(transport: GrpcTransport, socket: Socket): void {
  socket.once("readable", () => {
    const first = socket.read() as Buffer | null;
    if (first !== null) socket.unshift(first);
    transport.accept(socket);
  });
}
