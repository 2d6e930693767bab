import { Client, credentials, status } from "@grpc/grpc-js";
import { serviceDefinition } from "../../src/grpc/proto-definitions.ts";
import { digestOf } from "./cache-client.ts";

/** A Write that sends the first half of a blob and then does nothing more: something in flight for a server to drain. */
export class StalledUpload implements Disposable {
  /** gRPC status code at the end of the call. */
  readonly outcome: Promise<number>;
  readonly #client: Client;

  constructor(endpoint: string, blob: Buffer) {
    const rpc = serviceDefinition("google.bytestream.ByteStream")["Write"];
    if (rpc === undefined) throw new Error("proto/ has no Write");
    this.#client = new Client(endpoint, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
    const ended = Promise.withResolvers<number>();
    this.outcome = ended.promise;
    const call = this.#client.makeClientStreamRequest(
      rpc.path,
      rpc.requestSerialize,
      rpc.responseDeserialize,
      (error) => ended.resolve(error?.code ?? status.OK),
    );
    const { hash, sizeBytes } = digestOf(blob);
    const resource_name = `uploads/5ca1ab1e-0000-4000-8000-000000000000/blobs/${hash}/${sizeBytes}`;
    call.write({ resource_name, write_offset: 0, finish_write: false, data: blob.subarray(0, blob.length / 2) });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
