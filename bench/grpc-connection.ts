import { once } from "node:events";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";

const STREAM_WINDOW_BYTES = 4 * 1024 * 1024;
const SESSION_MEMORY_MEGABYTES = 4096;
const CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024;

/** A bare gRPC client over one HTTP/2 connection: it sends bodies that are already encoded. */
export class GrpcConnection implements AsyncDisposable {
  readonly #session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
  }

  /** @param endpoint `HOST:PORT` */
  static async open(endpoint: string): Promise<GrpcConnection> {
    const session = connect(`http://${endpoint}`, {
      settings: { initialWindowSize: STREAM_WINDOW_BYTES },
      // Whole bodies wait in the session for the server's window; Node's own limit of 10 MB would refuse streams.
      maxSessionMemory: SESSION_MEMORY_MEGABYTES,
    });
    await once(session, "connect");
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    return new GrpcConnection(session);
  }

  /** @returns the response body. @throws where the call ends with a status other than OK. */
  call(path: string, body: Buffer): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const stream = this.#session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const chunks: Buffer[] = [];
    let trailers: IncomingHttpHeaders = {};
    stream.on("response", (headers) => (trailers = headers));
    stream.on("trailers", (headers: IncomingHttpHeaders) => (trailers = headers));
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("close", () => {
      if (trailers["grpc-status"] === "0") resolve(Buffer.concat(chunks));
      else
        reject(
          new Error(`${path}: grpc-status ${String(trailers["grpc-status"])} ${String(trailers["grpc-message"])}`),
        );
    });
    stream.end(body);
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#session.close(resolve));
  }
}
