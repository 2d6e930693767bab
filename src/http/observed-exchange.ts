import type { IncomingMessage } from "node:http";
import { type ObservedRequest, requestIdOf } from "../observability/request-observer.ts";

interface Exchange {
  readonly request: IncomingMessage;
  readonly protocol: string;
  readonly callerName?: string | undefined;
}

/** An HTTP request as logs and traces see it. */
export class ObservedExchange implements ObservedRequest {
  readonly method: string;
  readonly path: string;
  readonly peer: string;
  readonly build = undefined;
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    const { method = "", url = "", socket } = exchange.request;
    this.#exchange = exchange;
    this.method = method;
    this.path = url.split("?", 1)[0] ?? "";
    // Now: a socket that is closed does not tell it any more.
    this.peer = `${socket.remoteAddress}:${socket.remotePort}`;
  }

  get id(): string {
    return requestIdOf(this.#exchange.request, this.header("x-request-id"));
  }

  get protocol(): string {
    return this.#exchange.protocol;
  }

  get caller(): string | undefined {
    return this.#exchange.callerName;
  }

  header(name: string): string | undefined {
    const value = this.#exchange.request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }
}
