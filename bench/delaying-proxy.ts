import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";

/** Bytes on their way in one direction of a connection, from which on nothing more is read: 1 GB/s for 64 ms. */
const IN_FLIGHT_BYTES_MAX = 64 * 1024 * 1024;

/** A line over a distance: TCP to an endpoint, with a delay and neither loss nor a limit of its own. */
export class DelayingProxy implements AsyncDisposable {
  readonly endpoint: string;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
    this.endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** @param roundTripMs half of it in each direction. */
  static async start(endpoint: string, roundTripMs: number): Promise<DelayingProxy> {
    const [host = "", port] = endpoint.split(":");
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true }, (client) => {
      const upstream = connect({ host, port: Number(port), noDelay: true });
      for (const socket of [client, upstream]) {
        sockets.add(socket);
        // One end gone: the other one hears of it as a closed connection.
        socket.on("error", () => socket.destroy());
        socket.on("close", () => sockets.delete(socket));
      }
      new DelayLine(client, upstream, roundTripMs / 2);
      new DelayLine(upstream, client, roundTripMs / 2);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new DelayingProxy(server, sockets);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** One direction: what comes out of `from` goes into `to` after `delayMs`, in order. */
class DelayLine {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #queue: { readonly dueAtMs: number; readonly chunk: Buffer | undefined }[] = [];
  #queuedBytes = 0;

  constructor(from: Socket, to: Socket, delayMs: number) {
    this.#from = from;
    this.#to = to;
    const push = (chunk: Buffer | undefined): void => {
      if (this.#queue.push({ dueAtMs: performance.now() + delayMs, chunk }) === 1) this.#wait();
      this.#queuedBytes += chunk?.length ?? 0;
      if (this.#queuedBytes >= IN_FLIGHT_BYTES_MAX) from.pause();
    };
    from.on("data", push);
    from.on("close", () => push(undefined));
  }

  #wait(): void {
    const first = this.#queue[0];
    if (first !== undefined) setTimeout(() => this.#deliver(), Math.max(0, first.dueAtMs - performance.now()));
  }

  #deliver(): void {
    const now = performance.now();
    const due = this.#queue.findIndex(({ dueAtMs }) => dueAtMs > now);
    for (const { chunk } of this.#queue.splice(0, due < 0 ? this.#queue.length : due)) {
      if (chunk === undefined) this.#to.destroy();
      else if (!this.#to.destroyed) this.#to.write(chunk, () => this.#taken(chunk.length));
    }
    this.#wait();
  }

  #taken(bytes: number): void {
    this.#queuedBytes -= bytes;
    if (this.#queuedBytes < IN_FLIGHT_BYTES_MAX) this.#from.resume();
  }
}
