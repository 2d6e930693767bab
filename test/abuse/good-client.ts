import { createHash, type Hash } from "node:crypto";
import { BlobCheck } from "../../bench/blob-check.ts";
import { type PlannedBlob, STAMP_BYTES } from "../../bench/blob-plan.ts";
import { ByteCollector } from "../../bench/byte-collector.ts";
import { committedSize, readRequest } from "../../bench/byte-stream-messages.ts";
import { digest } from "../../bench/cas-workloads.ts";
import { GrpcConnection } from "../../bench/grpc-connection.ts";
import { bytesField, grpcMessage } from "../../bench/proto-fields.ts";
import { ReadCheck } from "../../bench/read-check.ts";
import { unaryMessage } from "../../bench/response-fields.ts";
import { WriteBodyTemplate } from "../../bench/write-body.ts";
import { seededRandom } from "../support/seeded-random.ts";

const BLOB_BYTES = 16 * 1024;
const BYTE_STREAM = "/google.bytestream.ByteStream";
const FIND_MISSING = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs";

/** What a client that does as it should has seen for a while. */
export interface ClientFigures {
  /** Of each call. */
  readonly durationsMs: readonly number[];
  readonly faults: readonly string[];
}

/**
 * A client that asks, uploads and reads, one call after the other, whatever others do to the server meanwhile. What it costs
 * itself is not to be in its figures: it is the load generator's, not a general client with pauses of its own.
 */
export class GoodClient implements AsyncDisposable {
  readonly #connection: GrpcConnection;
  readonly #content: Buffer;
  readonly #contentHash: Hash;
  readonly #body: WriteBodyTemplate;
  readonly #working: Promise<void>;
  #blobCount = 0;
  #durationsMs: number[] = [];
  #faults: string[] = [];
  #isStopped = false;

  private constructor(connection: GrpcConnection, seed: string) {
    this.#connection = connection;
    this.#content = seededRandom(`${seed}/good`).bytes(BLOB_BYTES);
    this.#contentHash = createHash("sha256").update(this.#content.subarray(0, -STAMP_BYTES));
    this.#body = new WriteBodyTemplate(this.#content);
    this.#working = this.#work();
  }

  /** @param endpoint `HOST:PORT` */
  static async start(endpoint: string, seed: string): Promise<GoodClient> {
    return new GoodClient(await GrpcConnection.open(endpoint), seed);
  }

  /** Since the last time that somebody asked. */
  takeFigures(): ClientFigures {
    const figures = { durationsMs: this.#durationsMs, faults: this.#faults };
    this.#durationsMs = [];
    this.#faults = [];
    return figures;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    await this.#working;
    await this.#connection[Symbol.asyncDispose]();
  }

  async #work(): Promise<void> {
    while (!this.#isStopped) {
      const blob = this.#nextBlob();
      await this.#timed("FindMissingBlobs", () => this.#isMissing(blob));
      await this.#timed("Write", () => this.#write(blob));
      await this.#timed("Read", () => this.#read(blob));
    }
  }

  #nextBlob(): PlannedBlob {
    const stamp = Buffer.alloc(STAMP_BYTES);
    stamp.writeDoubleLE(this.#blobCount++);
    const hash = this.#contentHash.copy().update(stamp).digest("hex");
    return { classIndex: 0, sizeBytes: BLOB_BYTES, stamp, hash };
  }

  async #isMissing(blob: PlannedBlob): Promise<boolean> {
    const response = new ByteCollector();
    await this.#connection.call(FIND_MISSING, [[grpcMessage(bytesField(2, digest(blob)))]], response);
    return unaryMessage(response.bytes).includes(blob.hash);
  }

  async #write(blob: PlannedBlob): Promise<boolean> {
    const response = new ByteCollector();
    await this.#connection.call(`${BYTE_STREAM}/Write`, this.#body.fill(blob), response);
    return committedSize(response.bytes) === blob.sizeBytes;
  }

  async #read(blob: PlannedBlob): Promise<boolean> {
    const check = new ReadCheck(new BlobCheck(blob, this.#content));
    await this.#connection.call(`${BYTE_STREAM}/Read`, [[readRequest(blob)]], check);
    check.end();
    return true;
  }

  /** @param call resolves with whether the answer is the right one. */
  async #timed(name: string, call: () => Promise<boolean>): Promise<void> {
    const startedMs = performance.now();
    try {
      if (!(await call())) this.#faults.push(`${name} of the good client: a wrong answer`);
    } catch (error) {
      this.#faults.push(`${name} of the good client: ${String(error)}`);
    }
    this.#durationsMs.push(performance.now() - startedMs);
  }
}
