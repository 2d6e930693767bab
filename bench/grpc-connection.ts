import { encodeHeaderBlock } from "../src/http2/hpack/encode-header-block.ts";
import { ClientConnection } from "./http2-client/client-connection.ts";
import type { ResponseSink } from "./http2-client/client-stream.ts";
import type { MessageParts } from "./http2-client/request-body.ts";

/** A bare gRPC client over one HTTP/2 connection: it sends messages that are already encoded. */
export class GrpcConnection implements AsyncDisposable {
  readonly #connection: ClientConnection;
  readonly #endpoint: string;
  readonly #headerBlocks = new Map<string, Buffer>();

  private constructor(connection: ClientConnection, endpoint: string) {
    this.#connection = connection;
    this.#endpoint = endpoint;
  }

  /** @param endpoint `HOST:PORT` */
  static async open(endpoint: string): Promise<GrpcConnection> {
    return new GrpcConnection(await ClientConnection.open(endpoint), endpoint);
  }

  /** @throws where the call ends with another status than the expected one, or what the sink has thrown. */
  async call(path: string, messages: readonly MessageParts[], sink: ResponseSink, expectedStatus = "0"): Promise<void> {
    const expected = { name: "grpc-status", value: expectedStatus };
    try {
      await this.#connection.request(this.#headerBlock(path), messages, sink, expected);
    } catch (cause) {
      throw new Error(`${path.slice(path.lastIndexOf("/") + 1)}: ${String(cause)}`, { cause });
    }
  }

  /** A plain GET, of servers that know nothing of gRPC. @throws where it is not answered with 200. */
  async get(path: string, sink: ResponseSink): Promise<void> {
    const fields = [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", path],
      [":authority", this.#endpoint],
    ] as const;
    await this.#connection.request(encodeHeaderBlock(fields), [], sink, { name: ":status", value: "200" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #headerBlock(path: string): Buffer {
    const known = this.#headerBlocks.get(path);
    if (known !== undefined) return known;
    const block = encodeHeaderBlock([
      [":method", "POST"],
      [":scheme", "http"],
      [":path", path],
      [":authority", this.#endpoint],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
    ]);
    this.#headerBlocks.set(path, block);
    return block;
  }
}
