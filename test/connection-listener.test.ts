import { once } from "node:events";
import { createServer as createHttpServer, type Server as HttpServer } from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server, type Http2Server } from "node:http2";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { AddressPlaces } from "../src/address-places.ts";
import { ConnectionListener, type ConnectionListenerOptions } from "../src/connection-listener.ts";
import { LoopTurns } from "../src/http2/loop-turns.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "./support/test-certificate.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TLS = { tls: { cert: TEST_CERTIFICATE, key: TEST_KEY } };
const EMPTY_SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);

describe("ConnectionListener", () => {
  let http1: HttpServer;
  let http2: Http2Server;
  let listener: ConnectionListener | undefined;
  let sessionCount = 0;
  const sockets: Socket[] = [];

  async function listen(overrides: Partial<ConnectionListenerOptions> = {}): Promise<number> {
    listener = new ConnectionListener({
      connectionCountMax: 100,
      prefaceTimeoutMs: 60_000,
      onConnection: {
        http1: (socket) => http1.emit("connection", socket),
        http2: (socket) => http2.emit("connection", socket),
      },
      ...overrides,
    });
    return (await listener.listen("127.0.0.1", 0)).port;
  }

  async function dial(port: number): Promise<Socket> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
    sockets.push(socket);
    await once(socket, "connect");
    return socket;
  }

  /** Each byte in a write of its own, the next one once the system has taken the one before. */
  async function writeBytewise(socket: Socket, bytes: Buffer): Promise<void> {
    for (const byte of bytes) {
      const { promise, resolve } = Promise.withResolvers<void>();
      socket.write(Buffer.of(byte), () => setImmediate(resolve));
      await promise;
    }
  }

  async function getOverHttp2(port: number): Promise<string> {
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    try {
      return await text(session.request({ ":path": "/two" }).setEncoding("utf8"));
    } finally {
      session.close();
    }
  }

  beforeEach(() => {
    sessionCount = 0;
    http1 = createHttpServer((request, response) => response.end(`one ${request.method} ${request.url}`));
    http2 = createHttp2Server((request, response) => response.end(`two ${request.url}`));
    http2.on("session", (session) => {
      sessionCount++;
      session.on("close", () => sessionCount--);
      session.on("error", () => {});
    });
  });

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await listener?.close(0);
    listener = undefined;
  });

  it("serves HTTP/1.1 and HTTP/2 on one port", async () => {
    const port = await listen();
    expect(await (await fetch(`http://127.0.0.1:${port}/a`)).text()).toBe("one GET /a");
    expect(await getOverHttp2(port)).toBe("two /two");
  });

  it("recognises a preface that arrives one byte at a time and loses none of what follows", async () => {
    const port = await listen();
    const socket = await dial(port);
    await writeBytewise(socket, Buffer.concat([Buffer.from(PREFACE), EMPTY_SETTINGS]));
    const [frame] = (await once(socket, "data")) as [Buffer];
    const SETTINGS = 4;
    expect(frame[3]).toBe(SETTINGS);
    expect(sessionCount).toBe(1);
  });

  it("recognises an HTTP/1.1 request that arrives one byte at a time", async () => {
    const port = await listen();
    const socket = await dial(port);
    await writeBytewise(
      socket,
      Buffer.from("PUT /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
    );
    expect(await text(socket)).toContain("one PUT /x");
  });

  it("answers a request whose sender has closed its side already", async () => {
    const port = await listen();
    const socket = await dial(port);
    socket.end("GET /half HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    expect(await text(socket)).toContain("one GET /half");
  });

  it("gives bytes that leave the preface late to HTTP/1.1, from the first one", async () => {
    const port = await listen();
    const socket = await dial(port);
    await writeBytewise(socket, Buffer.from("PRI * HTTP/2.0\r\n\r\nXX"));
    expect(await text(socket)).toContain("400 Bad Request");
  });

  it("hands connections over in turns, and none that has gone meanwhile", async () => {
    const turns = new LoopTurns({ max: 1, min: 1, share: 1 });
    const taken: Socket[] = [];
    const port = await listen({ turns, onConnection: { http1: (socket) => taken.push(socket), http2: () => {} } });
    const wait = vi.spyOn(turns, "wait").mockImplementation(() => {});
    vi.spyOn(turns, "isOver", "get").mockReturnValue(true);
    const [stays, goes] = [await dial(port), await dial(port)];
    for (const socket of [stays, goes]) socket.write("GET /a HTTP/1.1\r\n");
    await vi.waitFor(() => expect(wait).toHaveBeenCalledTimes(2));
    expect(taken).toEqual([]);
    goes.resetAndDestroy();
    await vi.waitFor(() => expect(listener?.connectionCount).toBe(1));
    vi.restoreAllMocks();
    for (const [goOn] of wait.mock.calls.slice()) goOn();
    expect(taken.map(({ remotePort }) => remotePort)).toEqual([stays.localPort]);
    taken[0]?.destroy();
  });

  it("answers garbage with 400 and closes", async () => {
    const port = await listen();
    const socket = await dial(port);
    socket.write(Buffer.from([0, 255, 1, 254, 13, 10, 13, 10]));
    expect(await text(socket)).toContain("400 Bad Request");
  });

  it("closes a connection that stays silent", async () => {
    const port = await listen({ prefaceTimeoutMs: 20 });
    const socket = await dial(port);
    expect(await text(socket)).toBe("");
  });

  it("closes a connection that stops within the preface, also when bytes trickle", async () => {
    const port = await listen({ prefaceTimeoutMs: 20 });
    const socket = await dial(port);
    socket.write("PRI * HTT");
    expect(await text(socket)).toBe("");
  });

  it("closes a connection whose client ends it within the preface", async () => {
    const port = await listen();
    const socket = await dial(port);
    socket.end("PRI * HTT");
    expect(await text(socket)).toBe("");
  });

  it("ends the session of an HTTP/2 client that closes its side", async () => {
    const port = await listen();
    const socket = await dial(port);
    socket.write(Buffer.concat([Buffer.from(PREFACE), EMPTY_SETTINGS]));
    await once(socket, "data");
    socket.end();
    await text(socket);
    expect(sessionCount).toBe(0);
  });

  it("ends the session of an HTTP/2 client that closes its side together with the preface", async () => {
    const port = await listen();
    const socket = await dial(port);
    socket.end(Buffer.concat([Buffer.from(PREFACE), EMPTY_SETTINGS]));
    await text(socket);
    await listener?.close(60_000);
    expect(sessionCount).toBe(0);
  });

  it("closes connections of an address past its places, and takes new ones once it has one again", async () => {
    let refusedCount = 0;
    const addressPlaces = new AddressPlaces(1);
    const port = await listen({ addressPlaces, onRefused: () => refusedCount++ });
    const first = await dial(port);
    const second = await dial(port);
    await text(second.on("error", () => {})).catch(() => "");
    expect(refusedCount).toBe(1);
    first.end();
    await text(first);
    expect(await (await fetch(`http://127.0.0.1:${port}/again`)).text()).toBe("one GET /again");
  });

  it("closes connections past the budget and takes new ones once there is room", async () => {
    let refusedCount = 0;
    const port = await listen({ connectionCountMax: 1, onRefused: () => refusedCount++ });
    const first = await dial(port);
    const second = await dial(port);
    await text(second.on("error", () => {})).catch(() => "");
    expect(refusedCount).toBe(1);
    first.end();
    await text(first);
    expect(await (await fetch(`http://127.0.0.1:${port}/again`)).text()).toBe("one GET /again");
  });

  it("survives clients that reset the connection at any point", async () => {
    const port = await listen();
    for (const bytes of ["", "P", PREFACE, "GET / HT"]) {
      const socket = await dial(port);
      if (bytes !== "") socket.write(bytes);
      socket.resetAndDestroy();
    }
    expect(await getOverHttp2(port)).toBe("two /two");
  });

  it("reports a port that is in use", async () => {
    const port = await listen();
    const second = new ConnectionListener({
      connectionCountMax: 1,
      prefaceTimeoutMs: 1,
      onConnection: { http1: () => {}, http2: () => {} },
    });
    await expect(second.listen("127.0.0.1", port)).rejects.toThrow("EADDRINUSE");
  });

  it("closes what is left at the deadline and accepts nothing more", async () => {
    const handedOver = Promise.withResolvers<Socket>();
    const port = await listen({ onConnection: { http1: handedOver.resolve, http2: () => {} } });
    const undecided = await dial(port);
    const stuck = await dial(port);
    stuck.write("GET / HTTP/1.1\r\n");
    await handedOver.promise;
    await listener?.close(1);
    expect(listener?.connectionCount).toBe(0);
    // Unread bytes turn the close into a reset: both count as closed.
    await Promise.allSettled([text(undecided), text(stuck)]);
    await expect(once(connect({ port, host: "127.0.0.1" }), "connect")).rejects.toThrow("ECONNREFUSED");
  });

  it("carries @grpc/grpc-js on both sides", async () => {
    const server = new grpc.Server();
    const echo: grpc.MethodDefinition<Buffer, Buffer> = {
      path: "/test.Echo/Echo",
      requestStream: false,
      responseStream: false,
      requestSerialize: (bytes) => bytes,
      requestDeserialize: (bytes) => bytes,
      responseSerialize: (bytes) => bytes,
      responseDeserialize: (bytes) => bytes,
    };
    server.addService(
      { echo },
      {
        echo: (call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) =>
          callback(null, call.request),
      },
    );
    const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
    const port = await listen({
      onConnection: { http1: () => {}, http2: (socket) => injector.injectConnection(socket) },
    });
    const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
    try {
      const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
      client.makeUnaryRequest(
        echo.path,
        echo.requestSerialize,
        echo.responseDeserialize,
        Buffer.alloc(200_000, "ab"),
        (error, value) => (error === null ? resolve(value) : reject(error)),
      );
      expect(await promise).toEqual(Buffer.alloc(200_000, "ab"));
    } finally {
      client.close();
      server.forceShutdown();
    }
  });

  describe("with a certificate", () => {
    async function dialTls(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
      const socket = connectTls({ port, host: "127.0.0.1", servername: "localhost", ca: TEST_CERTIFICATE, ...options });
      sockets.push(socket);
      await once(socket, "secureConnect");
      return socket;
    }

    it("serves HTTP/2 and HTTP/1.1 on one port as ALPN says, preferring HTTP/2", async () => {
      const port = await listen(TLS);
      const session = connectHttp2(`https://localhost:${port}`, { ca: TEST_CERTIFICATE });
      expect(await text(session.request({ ":path": "/two" }).setEncoding("utf8"))).toBe("two /two");
      session.close();
      const one = await dialTls(port, { ALPNProtocols: ["http/1.1"] });
      one.end("GET /one HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
      expect(await text(one)).toContain("one GET /one");
      expect((await dialTls(port, { ALPNProtocols: ["http/1.1", "h2"] })).alpnProtocol).toBe("h2");
    });

    it("looks at the first bytes where the client names no protocol", async () => {
      const handedOver = Promise.withResolvers<Socket>();
      const port = await listen({
        ...TLS,
        onConnection: { http1: (socket) => http1.emit("connection", socket), http2: handedOver.resolve },
      });
      const one = await dialTls(port);
      one.write("GET /one HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
      expect(await text(one)).toContain("one GET /one");
      (await dialTls(port)).write(PREFACE);
      expect(String((await handedOver.promise).read())).toBe(PREFACE);
    });

    it("refuses protocols that it does not speak, TLS before 1.2, and clients without TLS", async () => {
      const failures: Error[] = [];
      const port = await listen({ ...TLS, onHandshakeFailed: (cause) => failures.push(cause) });
      await expect(dialTls(port, { ALPNProtocols: ["spdy/3"] })).rejects.toThrow("alert");
      const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" } as const;
      await expect(dialTls(port, old)).rejects.toThrow("alert");
      const plain = await dial(port);
      plain.on("error", () => {}).write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
      await text(plain).catch(() => "");
      expect(failures.length).toBe(3);
      expect((await dialTls(port, { ALPNProtocols: ["h2"], maxVersion: "TLSv1.2" })).getProtocol()).toBe("TLSv1.2");
    });

    it.each([
      ["before the handshake", async (port: number) => await dial(port)],
      ["after it", async (port: number) => await dialTls(port)],
    ])("closes a connection that stays silent %s", async (_when, dialSilently) => {
      const port = await listen({ ...TLS, prefaceTimeoutMs: 50 });
      const socket = await dialSilently(port);
      socket.on("error", () => {});
      await text(socket).catch(() => "");
      await vi.waitFor(() => expect(listener?.connectionCount).toBe(0), { timeout: 20_000, interval: 2 });
    });

    it("counts connections from their first byte, and closes those in a handshake at once", async () => {
      let refusedCount = 0;
      const port = await listen({ ...TLS, connectionCountMax: 1, onRefused: () => refusedCount++ });
      const silent = await dial(port);
      const second = await dial(port);
      await text(second.on("error", () => {})).catch(() => "");
      expect([refusedCount, listener?.connectionCount]).toEqual([1, 1]);
      await listener?.close(60_000);
      await text(silent).catch(() => "");
    });

    it("lets connections end that were handed over, and closes what is left at the deadline", async () => {
      const port = await listen({ ...TLS, onConnection: { http1: () => {}, http2: () => {} } });
      const stuck = await dialTls(port, { ALPNProtocols: ["h2"] });
      await listener?.close(1);
      expect(listener?.connectionCount).toBe(0);
      await Promise.allSettled([text(stuck)]);
    });
  });
});
