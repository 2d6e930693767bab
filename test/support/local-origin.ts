import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { TEST_CERTIFICATE, TEST_KEY } from "./test-certificate.ts";

type Route = (response: ServerResponse, request: IncomingMessage) => void;

/** An HTTP server on 127.0.0.1 that answers as a test tells it to, and remembers what it was asked. */
export class LocalOrigin implements AsyncDisposable {
  readonly requests: IncomingMessage[] = [];
  readonly #server: Server;
  readonly #routes = new Map<string, Route>();

  private constructor(createServerFor: (listener: RequestListener) => Server) {
    this.#server = createServerFor((request, response) => {
      this.requests.push(request);
      const route = this.#routes.get(request.url ?? "");
      if (route === undefined) response.writeHead(404).end();
      else route(response, request);
    });
  }

  static start(): Promise<LocalOrigin> {
    return LocalOrigin.#listening(new LocalOrigin((listener) => createServer(listener)));
  }

  /** With a certificate that nobody trusts. */
  static startTls(): Promise<LocalOrigin> {
    const identity = { key: TEST_KEY, cert: TEST_CERTIFICATE };
    return LocalOrigin.#listening(new LocalOrigin((listener) => createTlsServer(identity, listener)));
  }

  static async #listening(origin: LocalOrigin): Promise<LocalOrigin> {
    origin.#server.listen(0, "127.0.0.1");
    await once(origin.#server, "listening");
    return origin;
  }

  /** Answers `path` by calling each of the routes once, and the last one from then on. */
  on(path: string, ...routes: readonly [Route, ...Route[]]): URL {
    let calls = 0;
    this.#routes.set(path, (response, request) => {
      const route = routes[Math.min(calls++, routes.length - 1)];
      route?.(response, request);
    });
    return this.url(path);
  }

  /** Answers `path` with these bytes and their length. */
  serve(path: string, bytes: Uint8Array): URL {
    return this.on(path, (response) => response.writeHead(200, { "content-length": bytes.length }).end(bytes));
  }

  redirect(path: string, location: string): URL {
    return this.on(path, (response) => response.writeHead(302, { location }).end());
  }

  url(path: string): URL {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the origin does not listen");
    return new URL(path, `http://127.0.0.1:${address.port}`);
  }

  get requestCount(): number {
    return this.requests.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}
