import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import type { Digest } from "../../src/cache/digest.ts";
import type { Status } from "../../src/grpc/google-messages.ts";
import { type CacheClient, CacheClients, digestOf } from "../support/cache-client.ts";
import type { SeededRandom } from "../support/seeded-random.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const BLOB_BYTES_MAX = 8 * MIB;
/** What is announced to clients, with room for digests. */
const BATCH_BYTES_MAX = 3.9 * MIB;
const KNOWN_MAX = 20_000;
const RETRY_MS = 1000;
const RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo";

interface Failure {
  readonly code: number;
  readonly hasRetryInfo: boolean;
  readonly message: string;
}

/** Many clients, with a connection and one call at a time each, that do all that build tools do. */
export class MixedLoad implements Disposable {
  /** By kind of call. */
  readonly doneCounts = new Map<string, number>();
  readonly shedCounts = new Map<string, number>();
  readonly problems = new Set<string>();
  readonly #random: SeededRandom;
  readonly #clients: CacheClients;
  readonly #clientCount: number;
  /** Unlike any other blob once its first bytes are. */
  readonly #pool: Buffer;
  readonly #known: Digest[] = [];
  #blobCount = 0;
  #knownCount = 0;
  #isOver = false;

  constructor(endpoint: string, clientCount: number, random: SeededRandom) {
    this.#clients = new CacheClients(endpoint, clientCount);
    this.#clientCount = clientCount;
    this.#random = random;
    this.#pool = random.bytes(BLOB_BYTES_MAX);
  }

  /** Works until {@link stop}. */
  async run(): Promise<void> {
    await Promise.all(Array.from({ length: this.#clientCount }, (_, i) => this.#work(this.#clients.at(i))));
  }

  stop(): void {
    this.#isOver = true;
  }

  [Symbol.dispose](): void {
    this.#clients[Symbol.dispose]();
  }

  async #work(client: CacheClient): Promise<void> {
    while (!this.#isOver) {
      const kind = this.#pickKind();
      try {
        const shed = (await this.#calls[kind](client)) ?? [];
        this.#count(this.doneCounts, kind);
        for (const failure of shed) await this.#note(kind, failure);
      } catch (error) {
        await this.#note(kind, failureOf(error));
      }
    }
  }

  /** What is shed is tried again later, as a client does. */
  async #note(kind: string, { code, hasRetryInfo, message }: Failure): Promise<void> {
    if (code === status.RESOURCE_EXHAUSTED && hasRetryInfo) {
      this.#count(this.shedCounts, kind);
      await sleep(RETRY_MS);
    } else if (!this.#isOver) {
      this.problems.add(`${kind}: ${message}`);
      // Not to fill the report with what a server that is gone answers.
      if (this.problems.size > 20) this.#isOver = true;
    }
  }

  readonly #calls: Readonly<Record<CallKind, (client: CacheClient) => Promise<Failure[] | void>>> = {
    "write small": (client) => this.#write(client, 0, 64 * KIB),
    "write medium": (client) => this.#write(client, 64 * KIB, MIB),
    "write large": (client) => this.#write(client, MIB, BLOB_BYTES_MAX),
    "batch update": (client) => this.#batchUpdate(client),
    "find missing": async (client) => {
      const digests = Array.from({ length: this.#random.int(1, 1000) }, () => this.#someKnown());
      await client.findMissing(digests.filter((digest) => digest !== undefined));
    },
    read: async (client) => {
      const digest = this.#someKnown();
      const bytes = digest && (await client.readIfPresent(digest));
      if (bytes !== undefined && digestOf(bytes).hash !== digest?.hash) this.problems.add("read: other bytes");
    },
    "batch read": (client) => this.#batchRead(client),
    actions: async (client) => {
      const output = this.#someKnown();
      if (output === undefined) return;
      const action = digestOf(this.#blob(100));
      const digest = { hash: output.hash, size_bytes: output.sizeBytes };
      await client.updateActionResult(action, { output_files: [{ path: "out", digest }] });
      await client.getActionResult(action);
    },
  };

  async #write(client: CacheClient, bytesMin: number, bytesMax: number): Promise<void> {
    const blob = this.#blob(this.#random.int(bytesMin, bytesMax));
    const digest = digestOf(blob);
    const committed = await client.write(blob, { digest, messageBytes: 64 * KIB });
    if (committed !== blob.length) this.problems.add(`write: ${committed} of ${blob.length} bytes committed`);
    this.#noteKnown(digest);
  }

  async #batchUpdate(client: CacheClient): Promise<Failure[]> {
    const blobs: { digest: Digest; data: Buffer }[] = [];
    const bytesWanted = this.#random.int(1, BATCH_BYTES_MAX);
    for (let bytes = 0; bytes < bytesWanted;) {
      const data = this.#blob(Math.min(this.#random.int(1, MIB), bytesWanted - bytes));
      blobs.push({ digest: digestOf(data), data });
      bytes += data.length;
    }
    const { responses } = await client.batchUpdate(blobs);
    const failures: Failure[] = [];
    for (const [i, { status: answer }] of responses.entries()) {
      if (answer === null || answer.code === status.OK) this.#noteKnown(blobs[i]!.digest);
      else failures.push(failureIn(answer));
    }
    return failures;
  }

  async #batchRead(client: CacheClient): Promise<Failure[]> {
    const digests: Digest[] = [];
    for (let bytes = 0; digests.length < 100;) {
      const digest = this.#someKnown();
      if (digest === undefined || bytes + digest.sizeBytes > BATCH_BYTES_MAX) break;
      bytes += digest.sizeBytes;
      digests.push(digest);
    }
    const { responses } = await client.batchRead(digests);
    const failures: Failure[] = [];
    for (const { digest, data, status: answer } of responses) {
      if (answer !== null && answer.code !== status.OK) {
        if (answer.code !== status.NOT_FOUND) failures.push(failureIn(answer));
      } else if (digestOf(data).hash !== digest?.hash) this.problems.add("batch read: other bytes");
    }
    return failures;
  }

  #blob(bytes: number): Buffer {
    const blob = Buffer.from(this.#pool.subarray(0, Math.max(8, bytes)));
    blob.writeDoubleLE(++this.#blobCount);
    return blob;
  }

  #noteKnown(digest: Digest): void {
    this.#known[this.#knownCount++ % KNOWN_MAX] = digest;
  }

  #someKnown(): Digest | undefined {
    return this.#known.length === 0 ? undefined : this.#random.pick(this.#known);
  }

  #pickKind(): CallKind {
    let draw = this.#random.fraction();
    for (const [kind, share] of Object.entries(SHARES)) {
      draw -= share;
      if (draw < 0) return kind as CallKind;
    }
    return "read";
  }

  #count(counts: Map<string, number>, kind: string): void {
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
}

/** What is left is reads. */
const SHARES = {
  "write small": 0.3,
  "write medium": 0.1,
  "write large": 0.02,
  "batch update": 0.08,
  "find missing": 0.1,
  "batch read": 0.08,
  actions: 0.1,
} as const;
type CallKind = keyof typeof SHARES | "read";

function failureIn({ code, message, details }: Status): Failure {
  return { code, message, hasRetryInfo: details.some(({ type_url }) => type_url === RETRY_INFO) };
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error) || !("code" in error) || !("metadata" in error)) {
    return { code: -1, hasRetryInfo: false, message: String(error) };
  }
  const { code, metadata, message } = error as unknown as Failure & { metadata: { get(key: string): unknown[] } };
  const [details] = metadata.get("grpc-status-details-bin");
  return { code, message, hasRetryInfo: Buffer.isBuffer(details) && details.includes(RETRY_INFO) };
}
