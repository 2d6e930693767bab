import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { CONNECTION_DEFAULTS, type ConnectionOptions } from "../../src/http2/connection-options.ts";
import { encodeHeaderBlock } from "../../src/http2/hpack/encode-header-block.ts";
import { Http2Connection } from "../../src/http2/http2-connection.ts";
import type { AbortReason, Http2Stream, StreamListener } from "../../src/http2/http2-stream.ts";

const OK = encodeHeaderBlock([[":status", "200"]]);
const TRAILERS = encodeHeaderBlock([["x-end", "yes"]]);

/**
 * A server of `Http2Connection`s. What it answers depends on the path:
 *
 *     /echo     the body of the request, with trailers
 *     /size/N   N bytes
 *     /hold     nothing; bodies are not consumed
 *     /early    at once, with trailers, whatever still comes
 */
export class Http2TestServer {
  readonly connections = new Set<Http2Connection>();
  readonly aborts: AbortReason[] = [];
  readonly faults: unknown[] = [];
  /** Body bytes that have come in for /hold. */
  heldBytes = 0;
  stalls = 0;
  readonly held: Http2Stream[] = [];
  readonly #server: Server;

  static async start(options: Partial<ConnectionOptions> = {}): Promise<Http2TestServer> {
    const server = new Http2TestServer({ ...CONNECTION_DEFAULTS, ...options });
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    onTestFinished(async () => {
      for (const connection of server.connections) connection.destroy();
      server.#server.close();
      await once(server.#server, "close");
    });
    return server;
  }

  private constructor(options: ConnectionOptions) {
    this.#server = createServer({ noDelay: true }, (socket) => this.accept(socket, options));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  accept(socket: Socket, options: ConnectionOptions = CONNECTION_DEFAULTS): void {
    const connection = new Http2Connection(
      socket,
      {
        onRequest: (stream) => {
          stream.listener = this.#listenerOf(stream);
          if (stream.headers.get(":path") === "/early") finish(stream);
        },
        onClosed: () => this.connections.delete(connection),
        onFault: (cause) => this.faults.push(cause),
      },
      options,
    );
    this.connections.add(connection);
    connection.start();
  }

  #listenerOf(stream: Http2Stream): StreamListener {
    const path = stream.headers.get(":path") ?? "";
    const isHeld = path === "/hold";
    if (isHeld) this.held.push(stream);
    const body: Buffer[] = [];
    return {
      onData: (chunk, start, end) => {
        if (isHeld) {
          this.heldBytes += end - start;
          return;
        }
        body.push(Buffer.from(chunk.subarray(start, end)));
        stream.consume(end - start);
      },
      onChunkEnd: () => {},
      onEnd: () => {
        if (isHeld) return;
        stream.respond(OK);
        if (path === "/echo") stream.write(Buffer.concat(body));
        if (path.startsWith("/size/")) stream.write(Buffer.alloc(Number(path.slice(6)), "s"));
        finish(stream);
      },
      onAborted: (reason) => {
        this.aborts.push(reason);
        stream.settle();
      },
      onSent: () => {},
      onSendStalled: () => {
        this.stalls++;
        stream.dropUnsent();
        stream.end(TRAILERS);
      },
    };
  }
}

function finish(stream: Http2Stream): void {
  if (stream.headers.get(":path") === "/early") stream.respond(OK);
  stream.end(TRAILERS);
  stream.settle();
}
