import { createServer, type AddressInfo, type ListenOptions, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, Server as TlsServer, type TLSSocket } from "node:tls";
import type { AddressPlaces } from "./address-places.ts";
import type { LoopTurns } from "./http2/loop-turns.ts";
import { secureContextOptions, type TlsIdentity } from "./tls-identity.ts";

/** How every HTTP/2 connection with prior knowledge begins (RFC 9113, section 3.4). */
const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

export type ConnectionProtocol = "http1" | "http2";

export interface ConnectionListenerOptions {
  /** Takes over a connection; what was read to recognise it is unread again. */
  readonly onConnection: Readonly<Record<ConnectionProtocol, (socket: Socket) => void>>;
  /** Open connections at the most; further ones are closed as soon as they are accepted. */
  readonly connectionCountMax: number;
  /** Where given, a connection is open only while it has a place among those of all listeners. */
  readonly slots?: ConnectionPlaces | undefined;
  /** Where given, a connection is open only while it has a place among those of its address. */
  readonly addressPlaces?: AddressPlaces | undefined;
  /** In which connections are handed over; where not given, each as soon as its protocol is clear. */
  readonly turns?: LoopTurns;
  /** A connection that has not shown its protocol after this long is closed. */
  readonly prefaceTimeoutMs: number;
  /** Told of each connection that was not taken for want of room or of a descriptor. */
  readonly onRefused?: () => void;
  /** Where given, connections are TLS from their first byte, and no others are taken. */
  readonly tls?: TlsIdentity | undefined;
  /** Whether a client has to have a certificate, where they are asked for one. */
  readonly clientCertificateIsRequired?: boolean;
  /** Told of each TLS handshake that failed, as it does for a client that does not speak it. */
  readonly onHandshakeFailed?: (cause: Error) => void;
}

/** Bounds the connections of several listeners together. */
export interface ConnectionPlaces {
  tryTake(): boolean;
  give(): void;
}

/** Where a listener is bound. */
export type ListenAddress = AddressInfo;

/** In the order of preference (RFC 7301). A client that knows others only is refused by an alert. */
const ALPN_PROTOCOLS = ["h2", "http/1.1"];

/** The socket below, which Node keeps behind its back; each is closed with the other. */
type LayeredSocket = TLSSocket & { readonly _parent?: Socket };

/**
 * One TCP port for gRPC and HTTP/1.1 (DESIGN 10). It accepts, looks at the first bytes, and hands over:
 *
 *     accept ─┬─────────────────► peek ─┬─ 24 bytes of preface ─► http2
 *             │         without ALPN ▲  ├─ anything else ───────► http1 (which answers garbage with 400)
 *             │                      │  └─ nothing in time ─────► closed
 *             └─ TLS handshake ──────┴─ ALPN h2, http/1.1 ──────► http2, http1
 *
 * It keeps every socket until it is closed, so that closing the listener leaves none behind.
 */
export class ConnectionListener {
  readonly #options: ConnectionListenerOptions;
  readonly #server: Server | TlsServer;
  readonly #sockets = new Set<Socket>();
  /** Those of the sockets that are not handed over yet, with what ends them if they never are. */
  readonly #undecided = new Map<Socket, NodeJS.Timeout>();
  #onEmpty: (() => void) | undefined;

  constructor(options: ConnectionListenerOptions) {
    this.#options = options;
    this.#server = this.#createServer();
    this.#server.maxConnections = options.connectionCountMax;
    this.#server.on("drop", () => options.onRefused?.());
  }

  get connectionCount(): number {
    return this.#sockets.size;
  }

  /**
   * @param reusePort Whether other sockets of this process may be bound to the same port; the system spreads new
   * connections over them.
   * @throws the system's error, such as EADDRINUSE.
   */
  listen(host: string, port: number, reusePort = false): Promise<ListenAddress> {
    return this.#listen({ host, port, reusePort });
  }

  /** Takes connections from a socket that listens already, and closes it in the end. */
  listenOn(descriptor: number): Promise<ListenAddress> {
    return this.#listen({ fd: descriptor });
  }

  /** Connections to come are made with it; those that are there go on. */
  useTls(identity: TlsIdentity): void {
    if (this.#server instanceof TlsServer) this.#server.setSecureContext(secureContextOptions(identity));
  }

  /**
   * Stops accepting at once. Resolves when every connection handed over is closed, and closes those that are left
   * after `deadlineMs` milliseconds; connections that are still being looked at are closed now.
   */
  async close(deadlineMs: number): Promise<void> {
    if (this.#server.listening) this.#server.close();
    for (const socket of this.#undecided.keys()) socket.destroy();
    await this.#becomeEmpty(deadlineMs);
    for (const socket of this.#sockets) socket.destroy();
    await this.#becomeEmpty(undefined);
  }

  async #listen(place: ListenOptions | { readonly fd: number }): Promise<ListenAddress> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject);
    this.#server.listen(place, resolve);
    await promise;
    this.#server.off("error", reject);
    // A failed accept, for want of a descriptor say, is one connection less and not the end of the process (H9).
    this.#server.on("error", () => this.#options.onRefused?.());
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("a TCP server has an address and a port");
    return address;
  }

  async #becomeEmpty(deadlineMs: number | undefined): Promise<void> {
    if (this.#sockets.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onEmpty = resolve;
    const timer = deadlineMs === undefined ? undefined : setTimeout(resolve, deadlineMs);
    await promise;
    clearTimeout(timer);
  }

  #createServer(): Server {
    const { tls, clientCertificateIsRequired = false, prefaceTimeoutMs, onHandshakeFailed } = this.#options;
    // Half-open: an HTTP/1 client may end its side after the request and still wants the answer.
    const socketOptions = { allowHalfOpen: true, noDelay: true };
    if (tls === undefined) {
      return createServer(socketOptions, (socket) => {
        if (!this.#take(socket)) return;
        peekProtocol(socket, (protocol) => this.#handOver(socket, socket, protocol));
      });
    }
    const server = createTlsServer({
      ...socketOptions,
      ...secureContextOptions(tls),
      requestCert: tls.clientCa !== undefined,
      rejectUnauthorized: clientCertificateIsRequired,
      ALPNProtocols: ALPN_PROTOCOLS,
      handshakeTimeout: prefaceTimeoutMs,
    });
    server.on("connection", (socket: Socket) => void this.#take(socket));
    server.on("secureConnection", (secure) => this.#onSecure(secure));
    server.on("tlsClientError", (cause) => onHandshakeFailed?.(cause));
    return server;
  }

  #onSecure(secure: LayeredSocket): void {
    const accepted = secure._parent ?? secure;
    secure.on("error", () => {});
    if (showsBadCertificate(secure)) return void secure.destroy();
    if (secure.alpnProtocol === "h2") this.#handOver(accepted, secure, "http2");
    else if (secure.alpnProtocol === "http/1.1") this.#handOver(accepted, secure, "http1");
    else peekProtocol(secure, (protocol) => this.#handOver(accepted, secure, protocol));
  }

  /** @returns false where there was no place for it. */
  #take(socket: Socket): boolean {
    const { slots, addressPlaces } = this.#options;
    // The system does not know it of a connection that is gone already.
    const address = socket.remoteAddress ?? "";
    if (addressPlaces?.tryTake(address) === false) return this.#refuse(socket);
    if (slots?.tryTake() === false) {
      addressPlaces?.give(address);
      return this.#refuse(socket);
    }
    this.#sockets.add(socket);
    const timer = setTimeout(() => socket.destroy(), this.#options.prefaceTimeoutMs);
    this.#undecided.set(socket, timer);
    socket.once("close", () => {
      this.#decide(socket);
      this.#sockets.delete(socket);
      slots?.give();
      addressPlaces?.give(address);
      if (this.#sockets.size === 0) this.#onEmpty?.();
    });
    // A reset before or between the owners of the socket must not end the process; 'close' follows and cleans up.
    socket.on("error", () => {});
    return true;
  }

  #refuse(socket: Socket): false {
    socket.on("error", () => {});
    socket.destroy();
    this.#options.onRefused?.();
    return false;
  }

  #decide(accepted: Socket): void {
    clearTimeout(this.#undecided.get(accepted));
    this.#undecided.delete(accepted);
  }

  #handOver(accepted: Socket, socket: Socket, protocol: ConnectionProtocol): void {
    const { turns } = this.#options;
    if (socket.destroyed) return;
    if (turns?.isOver === true) return turns.wait(() => this.#handOver(accepted, socket, protocol));
    turns?.spend(1);
    this.#decide(accepted);
    // An HTTP/2 session does not answer a half-closed client; without this its connection would stay for good.
    if (protocol === "http2") socket.allowHalfOpen = false;
    this.#options.onConnection[protocol](socket);
  }
}

/** Whoever need not have a certificate, and has one, has a good one. */
function showsBadCertificate(secure: TLSSocket): boolean {
  return !secure.authorized && secure.getPeerX509Certificate() !== undefined;
}

/** Reads until the protocol is clear, unreads all of it, and calls back; never calls back if the client ends before. */
function peekProtocol(socket: Socket, onDecided: (protocol: ConnectionProtocol) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const onReadable = (): void => {
    for (let chunk = readChunk(socket); chunk !== null; chunk = readChunk(socket)) {
      // Whatever a client sends at once is mostly one chunk, and need not be copied.
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    }
    const protocol = protocolOf(seen);
    if (protocol === undefined) return;
    socket.off("readable", onReadable);
    socket.off("end", onEnd);
    socket.unshift(seen);
    onDecided(protocol);
  };
  const onEnd = (): void => {
    socket.destroy();
  };
  socket.on("readable", onReadable);
  socket.once("end", onEnd);
}

function readChunk(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null;
}

/** @returns undefined while the bytes may still become the preface. */
function protocolOf(seen: Buffer): ConnectionProtocol | undefined {
  const comparedBytes = Math.min(seen.length, HTTP2_PREFACE.length);
  if (!seen.subarray(0, comparedBytes).equals(HTTP2_PREFACE.subarray(0, comparedBytes))) return "http1";
  return comparedBytes === HTTP2_PREFACE.length ? "http2" : undefined;
}
